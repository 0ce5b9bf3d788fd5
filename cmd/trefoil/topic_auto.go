package main

import "trefoil/server"

// autoTopics lets topics come into being that nobody has created. The setting has been
// checked.
func (b *brokerSettings) autoTopics() server.Option {
	rules, _ := readAutoTopics(b.topicAuto)
	return server.WithAutoTopics(rules...)
}

func checkAutoTopics(text string) error {
	_, err := readAutoTopics(text)
	return err
}

func readAutoTopics(text string) ([]server.AutoTopic, error) {
	if text == "" {
		return nil, nil
	}
	return server.ParseAutoTopics(text)
}
