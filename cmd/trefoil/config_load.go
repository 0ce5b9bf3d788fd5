package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"trefoil/cmd/trefoil/internal/config"
)

const (
	// configEnv names the configuration file when --config does not.
	configEnv = "TREFOIL_CONFIG"
	// maxConfig is the largest configuration file.
	maxConfig = 1 << 20
)

// settingFlag is the flag of a setting. It notes what was given, for later: what
// counts is said by all sources together.
type settingFlag struct {
	setting *config.Setting
	given   map[string]string
	text    string
}

// String is the value, or the default when none was given.
func (f *settingFlag) String() string { return f.text }

// Set takes the value that was given.
func (f *settingFlag) Set(text string) error {
	canonical, err := f.setting.Canonical(text)
	if err != nil {
		return err
	}
	f.text, f.given[f.setting.Flag] = canonical, text
	return nil
}

// Type says what help calls the value.
func (f *settingFlag) Type() string {
	switch f.setting.Type() {
	case "true or false":
		return "bool"
	case "whole number":
		return "int"
	case "size", "duration":
		return f.setting.Type()
	}
	return "string"
}

// addSettingFlags gives a command the flags of the broker's settings.
func addSettingFlags(c *cobra.Command, s *settings) *cobra.Command {
	s.given = make(map[string]string)
	table := brokerTable(s)
	for i := range table {
		row := &table[i]
		if row.Flag == "" {
			continue
		}
		c.Flags().Var(&settingFlag{setting: row, given: s.given, text: row.Default}, row.Flag, row.Help)
		if row.IsBool() {
			c.Flags().Lookup(row.Flag).NoOptDefVal = "true"
		}
	}
	return c
}

// configFile is the name of the configuration file; empty: there is none.
func (s *settings) configFile() string {
	if s.config != "" {
		return s.config
	}
	return os.Getenv(configEnv)
}

// load sets all of the broker's settings from the file, the environment and the flags.
// An error of type config.FaultErrors says what is wrong with them.
func (s *settings) load() (config.Values, error) {
	src := config.Sources{File: s.configFile(), Env: os.LookupEnv, Flags: s.given}
	if src.File != "" {
		var err error
		if src.Text, err = readConfig(src.File); err != nil {
			return nil, err
		}
	}
	return s.loadFrom(src)
}

func (s *settings) loadFrom(src config.Sources) (config.Values, error) {
	values, err := brokerTable(s).Load(src)
	if err != nil {
		return nil, err
	}
	return values, conflict(values)
}

func readConfig(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("read the configuration: %s is larger than %d bytes", name, maxConfig)
	}
	return text, nil
}

// isFaulty says whether an error is about the configuration.
func isFaulty(err error) bool {
	var faults config.FaultErrors
	return errors.As(err, &faults)
}
