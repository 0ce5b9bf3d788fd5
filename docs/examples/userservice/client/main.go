// Command client calls UserService: an Application, a Channel, a stub and a Controller.
//
//	go run ./docs/examples/userservice/client -i docs/examples/userservice/config.json
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"trefoil/abstract"
	"trefoil/client/protorpc"
	"trefoil/concrete/zookeeper"
	"trefoil/docs/examples/userservice/user"
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var address string
	app, err := protorpc.NewApplication(args,
		protorpc.WithOutput(stderr),
		protorpc.WithRegistry("zookeeper", openZooKeeper),
		protorpc.WithFlags(func(flags *flag.FlagSet) {
			flags.StringVar(&address, "provider", "", "`ADDRESS` to call without asking the registry")
		}))
	if err != nil {
		return err
	}
	defer app.Close()
	channel, err := open(ctx, app, address)
	if err != nil {
		return err
	}
	defer channel.Close()
	stub := user.NewUserServiceClient(channel)

	var controller protorpc.Controller // one for each call at a time
	login, err := stub.Login(controller.Context(ctx), &user.LoginRequest{Name: "eve", Pwd: "secret"})
	if controller.Failed() {
		return errors.New(controller.ErrorText()) // it is err's text as well
	}
	fmt.Fprintln(stdout, "login:   ", login.GetSuccess(), err)
	login, err = stub.Login(ctx, &user.LoginRequest{Name: "eve", Pwd: "guess"})
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "login:   ", login.GetSuccess(), login.GetResult().GetErrcode(), login.GetResult().GetErrmsg())

	added, err := stub.Register(ctx, &user.RegisterRequest{Id: 3, Name: "kim", Pwd: "kim"})
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "register:", added.GetSuccess())
	_, err = stub.Register(ctx, &user.RegisterRequest{})
	fmt.Fprintln(stdout, "register:", errors.Is(err, abstract.ErrInvalidParams))

	friends := user.UserService_GetFriendLists.CallFuture(ctx, channel, &user.GetFriendListsRequest{Userid: 1})
	// ... anything else, until the friends are needed
	list, err := friends.Wait(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "friends: ", list.GetFriends())

	controller.Reset()
	controller.StartCancel() // before the call begins, here
	_, err = stub.Login(controller.Context(ctx), &user.LoginRequest{})
	fmt.Fprintln(stdout, "canceled:", controller.IsCanceled(), controller.Failed(), errors.Is(err, abstract.ErrCancelled))
	return nil
}

// open makes a Channel to whoever the registry names, or to one address.
func open(ctx context.Context, app *protorpc.Application, address string) (*protorpc.Channel, error) {
	if address != "" {
		return protorpc.DialChannel(ctx, app, address)
	}
	return protorpc.NewChannel(app)
}

// openZooKeeper makes "registry": "zookeeper" work; programs without it link no library
// of ZooKeeper.
func openZooKeeper(c protorpc.Config, log *slog.Logger) (abstract.Registry, error) {
	return zookeeper.New(zookeeper.Config{Servers: c.Addresses, Logger: log})
}

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
