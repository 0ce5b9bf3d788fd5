package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"trefoil/client"
)

// workerHelper is a member of the queue group "crew" on the topic args[1]: for each message
// it prints that it has begun, works for args[2], and prints that it is done.
func workerHelper(args []string, stdin io.Reader, stdout io.Writer) int {
	takes, err := time.ParseDuration(args[2])
	if err != nil {
		fmt.Fprintln(stdout, "failed:", err)
		return 1
	}
	if !helperConns([]string{args[0], "1"}, stdout, func(_ int, conn *client.Conn) error {
		_, err := client.NewTopicClient(conn).Subscribe(context.Background(), args[1], func(m client.Message) {
			fmt.Fprintln(stdout, "begun", string(m.Data))
			work := time.NewTimer(takes)
			<-work.C
			fmt.Fprintln(stdout, "done", string(m.Data))
		}, client.QueueGroup("crew"), client.FromAll())
		return err
	}) {
		return 1
	}
	fmt.Fprintln(stdout, "joined")
	_, _ = io.Copy(io.Discard, stdin)
	return 0
}
