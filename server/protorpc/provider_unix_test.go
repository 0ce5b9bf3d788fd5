//go:build unix

package protorpc_test

import (
	"context"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/client/protorpc"
	"trefoil/concrete/mem"
	"trefoil/docs/examples/userservice/user"
	"trefoil/server"
	provider "trefoil/server/protorpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("os/signal.loop")) }

// users lets everybody in, when it is time.
type users struct {
	user.UnimplementedUserServiceServer
	began, open chan struct{}
}

func (u *users) Login(_ context.Context, in *user.LoginRequest) (*user.LoginResponse, error) {
	u.began <- struct{}{}
	<-u.open
	return &user.LoginResponse{Success: in.GetName() != ""}, nil
}

// start runs a broker, an Application that is told of it, and a Provider.
func start(t *testing.T, impl user.UserServiceServer, args ...string) (app *protorpc.Application, p *provider.Provider, network *mem.Network) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	network = mem.NewNetwork()
	broker := server.NewBroker("broker:1", server.WithTransport(network.Server), server.WithLogger(quiet))
	require.NoError(t, broker.Listen())
	go broker.Serve()
	app, err := protorpc.NewApplication(append([]string{"--addresses", "broker:1", "--listen", "provider:1"}, args...), protorpc.WithLogger(quiet), protorpc.WithClient(client.WithTransport(network.Client), client.WithTimeout(2*time.Minute)))
	require.NoError(t, err)
	p, err = provider.NewProvider(app, server.WithTransport(network.Server))
	require.NoError(t, err)
	require.NoError(t, p.NotifyService(user.UserServiceDesc(impl)))
	t.Cleanup(func() {
		assert.NoError(t, app.Close())
		assert.NoError(t, broker.Shutdown(context.Background()))
	})
	return app, p, network
}

func registered(t *testing.T, app *protorpc.Application) []abstract.Provider {
	t.Helper()
	r, err := app.Registry()
	require.NoError(t, err)
	list, err := r.(*client.Registry).WaitFor(t.Context(), "user.UserService.Login")
	require.NoError(t, err)
	return list
}

// TestSignalEndsProviderAfterItsCalls signals the process in the middle of a call.
func TestSignalEndsProviderAfterItsCalls(t *testing.T) {
	impl := &users{began: make(chan struct{}), open: make(chan struct{})}
	app, p, _ := start(t, impl)
	ran := make(chan error, 1)
	go func() { ran <- p.Run(t.Context()) }()
	registered(t, app)
	assert.Equal(t, "provider:1", p.Addr().String())

	channel, err := protorpc.NewChannel(app)
	require.NoError(t, err)
	defer channel.Close()
	call := user.UserService_Login.CallFuture(t.Context(), channel, &user.LoginRequest{Name: "eve"})
	<-impl.began
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
	r, err := app.Registry()
	require.NoError(t, err)
	require.Eventually(t, func() bool { // it takes leave while the call goes on
		list, err := r.Discover(t.Context(), "user.UserService.Login")
		return err == nil && (len(list) == 0 || list[0].State == abstract.Retiring)
	}, 2*time.Minute, time.Millisecond)
	close(impl.open)
	out, err := call.Wait(t.Context())
	require.NoError(t, err)
	assert.True(t, out.GetSuccess())
	require.NoError(t, <-ran)
	list, err := r.Discover(t.Context(), "user.UserService.Login")
	require.NoError(t, err)
	assert.Empty(t, list)
}

func TestProviderTellsOfCallsThatDoNotEnd(t *testing.T) {
	impl := &users{began: make(chan struct{}), open: make(chan struct{})}
	app, p, _ := start(t, impl, "--drain-timeout", "1ms")
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- p.Run(ctx) }()
	registered(t, app)
	channel, err := protorpc.NewChannel(app)
	require.NoError(t, err)
	defer channel.Close()
	call := user.UserService_Login.CallFuture(t.Context(), channel, &user.LoginRequest{Name: "eve"})
	<-impl.began
	cancel()
	assert.ErrorContains(t, <-ran, "not all calls had ended after 1ms")
	close(impl.open)
	<-call.Done()
}

func TestProviderRegistersTheAddressThatItAdvertises(t *testing.T) {
	app, p, _ := start(t, user.UnimplementedUserServiceServer{}, "--advertise", "10.1.2.3:80")
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- p.Run(ctx) }()
	assert.Equal(t, "10.1.2.3:80", registered(t, app)[0].Host.String())
	cancel()
	require.NoError(t, <-ran)
}

func TestProviderSaysWhyItCannotServe(t *testing.T) {
	app, p, network := start(t, user.UnimplementedUserServiceServer{})
	err := p.NotifyService(user.UserServiceDesc(user.UnimplementedUserServiceServer{}))
	require.ErrorIs(t, err, abstract.ErrExists)
	assert.ErrorContains(t, err, "service user.UserService: serve user.UserService.Login")
	require.ErrorIs(t, user.RegisterUserService(p, user.UnimplementedUserServiceServer{}), abstract.ErrExists)

	require.NoError(t, p.Listen())
	second, err := provider.NewProvider(app, server.WithTransport(network.Server))
	require.NoError(t, err)
	require.Error(t, second.Run(t.Context()), "the address is in use")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, p.Run(ctx))
	require.NoError(t, app.Close())
	_, err = provider.NewProvider(app)
	require.ErrorIs(t, err, abstract.ErrDisconnected)
}
