package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/client"
)

// The helpers of this file are clients in processes of their own, so that they can
// be stopped and killed. Each prints what it has done, and ends with its input.

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

// helperConns opens connections to args[0], args[1] of them, and calls do with each,
// side by side.
func helperConns(args []string, stdout io.Writer, do func(i int, conn *client.Conn) error, opts ...client.Option) bool {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return false
	}
	var all sync.WaitGroup
	var failed atomic.Bool
	for i := range n {
		all.Go(func() {
			conn, err := client.Dial(context.Background(), args[0], append(opts, client.WithLogger(silent), client.WithTimeout(patience), client.WithConnectTimeout(patience), client.WithHelloTimeout(patience))...)
			if err == nil {
				err = do(i, conn)
			}
			if err != nil {
				fmt.Fprintln(stdout, "failed:", err)
				failed.Store(true)
			}
		})
	}
	all.Wait()
	return !failed.Load()
}

// ownersHelper holds sessions that own args[2] nodes each below /owned.
func ownersHelper(args []string, stdin io.Reader, stdout io.Writer) int {
	each, _ := strconv.Atoi(args[2])
	if helperConns(args, stdout, func(i int, conn *client.Conn) error {
		nodes := client.NewNodeClient(conn)
		for j := range each {
			if _, err := nodes.Create(context.Background(), fmt.Sprintf("/owned/%d-%d", i, j), []byte("data"), client.SessionNode()); err != nil {
				return err
			}
		}
		return nil
	}) {
		fmt.Fprintln(stdout, "owned")
	}
	_, _ = io.Copy(io.Discard, stdin)
	return 0
}

// watchersHelper watches the children of /owned until each watcher has seen args[2]
// of them go. It prints the Unix times in nanoseconds at which the first went and the
// last watcher was done.
func watchersHelper(args []string, _ io.Reader, stdout io.Writer) int {
	all, _ := strconv.Atoi(args[2])
	var mu sync.Mutex
	var first, last time.Time
	var done sync.WaitGroup
	helperConns(args, stdout, func(_ int, conn *client.Conn) error {
		watch, err := client.NewNodeClient(conn).Watch(context.Background(), "/owned", client.ScopeChildren)
		if err != nil {
			return err
		}
		done.Go(func() {
			gone := 0
			for gone < all {
				e, err := watch.Next(context.Background())
				if err != nil || e.Resync {
					fmt.Fprintln(stdout, "failed:", e.Resync, err)
					return
				}
				mu.Lock()
				if last = time.Now(); first.IsZero() {
					first = last
				}
				mu.Unlock()
				gone += len(e.Changes)
			}
		})
		return nil
	})
	fmt.Fprintln(stdout, "watching")
	done.Wait()
	fmt.Fprintln(stdout, first.UnixNano(), last.UnixNano())
	return 0
}

// providersHelper registers args[2] providers on each connection. For each line of
// input it says how often it was refused and told when to come back.
func providersHelper(args []string, stdin io.Reader, stdout io.Writer) int {
	each, _ := strconv.Atoi(args[2])
	var told turnedAway
	if helperConns(args, stdout, func(i int, conn *client.Conn) error {
		list := make([]abstract.Provider, each)
		for j := range list {
			list[j] = abstract.Provider{Method: "m" + strconv.Itoa(j), Host: abstract.Host{IP: "10.0.0.1", Port: 1000 + i}}
		}
		return client.NewRegistryClient(conn).Register(context.Background(), list...)
	}, client.WithTransport(told.transport)) {
		fmt.Fprintln(stdout, "registered")
	}
	for scanner := bufio.NewScanner(stdin); scanner.Scan(); {
		fmt.Fprintln(stdout, told.hinted.Load(), told.plain.Load())
	}
	return 0
}

// holderHelper holds the lock at /lock, prints its token, and for every line of input
// writes to /guarded by it.
func holderHelper(args []string, stdin io.Reader, stdout io.Writer) int {
	conn, err := client.Dial(context.Background(), args[0], client.WithLogger(silent), client.WithTimeout(patience), client.WithConnectTimeout(patience), client.WithHelloTimeout(patience))
	if err != nil {
		fmt.Fprintln(stdout, "failed:", err)
		return 1
	}
	defer conn.Close()
	nodes := client.NewNodeClient(conn)
	held, err := client.NewLock(nodes, "/lock").Acquire(context.Background())
	if err != nil {
		fmt.Fprintln(stdout, "failed:", err)
		return 1
	}
	fmt.Fprintln(stdout, "token", held.Token())
	go func() {
		<-held.Lost()
		fmt.Fprintln(stdout, "lost")
	}()
	for scanner := bufio.NewScanner(stdin); scanner.Scan(); {
		_, err := nodes.Multi(context.Background(), held.Check(), client.SetOp("/guarded", scanner.Bytes()))
		fmt.Fprintln(stdout, "wrote:", abstract.CodeOf(err))
	}
	return 0
}
