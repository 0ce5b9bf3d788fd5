package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// source is one text file that the demo sends.
type source struct {
	path    string // below the survey's directory
	size    int64
	changed time.Time
}

// survey is what a directory holds, counted directly.
type survey struct {
	dir        string
	files      []source
	direct     totals
	notText    int // files that are not valid UTF-8, or hold a NUL byte
	unreadable int // files and directories
}

// demoDir is the directory that the demo reads: the argument, or the source tree
// of the Go toolchain.
func demoDir(ctx context.Context, args []string) (string, error) {
	if len(args) == 0 {
		out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
		root := strings.TrimSpace(string(out))
		if err != nil || root == "" {
			return "", errors.New("there is no Go toolchain here whose source tree could be read; name a directory: trefoil demo DIR")
		}
		args = []string{filepath.Join(root, "src")}
	}
	dir, err := filepath.EvalSymlinks(args[0])
	if err != nil {
		return "", fmt.Errorf("%w; name a directory with text files", err)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", fmt.Errorf("%s is not a directory; name one with text files", dir)
	}
	return dir, nil
}

// surveyDir finds the text files below a directory and counts what is in them.
// Links are not followed. seen is called after each file.
func surveyDir(ctx context.Context, dir string, seen func(totals)) (*survey, error) {
	v := &survey{dir: dir}
	buf := make([]byte, 64<<10)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			v.unreadable++
			return nil //nolint:nilerr // the rest can be read, and the report says what was left out
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		v.look(path, buf)
		seen(v.direct)
		return nil
	})
	if err == nil && len(v.files) == 0 {
		err = fmt.Errorf("no text files in %s; name a directory that has some", dir)
	}
	return v, err
}

// look counts a file and notes it, if it is a text.
func (v *survey) look(path string, buf []byte) {
	f, err := os.Open(path)
	if err != nil {
		v.unreadable++
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		v.unreadable++
		return
	}
	counted, err := countText(f, buf)
	switch {
	case errors.Is(err, errNotText):
		v.notText++
	case err != nil:
		v.unreadable++
	default:
		name := strings.TrimPrefix(strings.TrimPrefix(path, v.dir), string(filepath.Separator))
		v.files = append(v.files, source{path: name, size: info.Size(), changed: info.ModTime()})
		v.direct.add(counted)
	}
}

// open opens a file for the second reading, if it still is the same.
func (v *survey) open(src source) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(v.dir, src.path))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (info.Size() != src.size || !info.ModTime().Equal(src.changed)) {
		err = fmt.Errorf("%s changed while the demo ran; run it again on a directory that nobody writes to", src.path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
