// Command server provides UserService: an Application that is told by a file and flags
// where to register, and a Provider.
//
//	go run ./docs/examples/userservice/server -i docs/examples/userservice/config.json
package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"

	"trefoil/abstract"
	"trefoil/client/protorpc"
	"trefoil/concrete/zookeeper"
	"trefoil/docs/examples/userservice/user"
	provider "trefoil/server/protorpc"
)

// users are those who may come in, in memory.
type users struct {
	user.UnimplementedUserServiceServer

	mu    sync.Mutex
	known map[string]account
}

type account struct {
	id  uint32
	pwd string
}

// Login says whether the name and the password belong together.
func (u *users) Login(_ context.Context, in *user.LoginRequest) (*user.LoginResponse, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	a, ok := u.known[in.GetName()]
	if !ok || subtle.ConstantTimeCompare([]byte(a.pwd), []byte(in.GetPwd())) == 0 {
		return &user.LoginResponse{Result: &user.ResultCode{Errcode: 1, Errmsg: "name or password is wrong"}}, nil
	}
	return &user.LoginResponse{Result: &user.ResultCode{}, Success: true}, nil
}

// Register adds a user.
func (u *users) Register(_ context.Context, in *user.RegisterRequest) (*user.RegisterResponse, error) {
	if in.GetName() == "" {
		return nil, abstract.Errorf(abstract.InvalidParams, `parameter "name" is empty`)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.known[in.GetName()]; ok {
		return &user.RegisterResponse{Result: &user.ResultCode{Errcode: 2, Errmsg: "the name is taken"}}, nil
	}
	u.known[in.GetName()] = account{in.GetId(), in.GetPwd()}
	return &user.RegisterResponse{Result: &user.ResultCode{}, Success: true}, nil
}

// GetFriendLists says that everybody else is a friend.
func (u *users) GetFriendLists(_ context.Context, in *user.GetFriendListsRequest) (*user.GetFriendListsResponse, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := &user.GetFriendListsResponse{Result: &user.ResultCode{}}
	for name, a := range u.known {
		if a.id != in.GetUserid() {
			out.Friends = append(out.Friends, name)
		}
	}
	slices.Sort(out.Friends)
	return out, nil
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	app, err := protorpc.NewApplication(args, protorpc.WithOutput(stderr), protorpc.WithRegistry("zookeeper", openZooKeeper))
	if err != nil {
		return err
	}
	defer app.Close()
	p, err := provider.NewProvider(app)
	if err != nil {
		return err
	}
	service := &users{known: map[string]account{"eve": {1, "secret"}, "bob": {2, "1234"}}}
	if err := p.NotifyService(user.UserServiceDesc(service)); err != nil {
		return err
	}
	return p.Run(ctx)
}

// openZooKeeper makes "registry": "zookeeper" work; programs without it link no library
// of ZooKeeper.
func openZooKeeper(c protorpc.Config, log *slog.Logger) (abstract.Registry, error) {
	return zookeeper.New(zookeeper.Config{Servers: c.Addresses, Logger: log})
}

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
