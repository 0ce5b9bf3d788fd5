package trefoiltest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil"
	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/client"
	"trefoil/server"
	"trefoil/server/trefoiltest"
)

// These are the tests that docs/testing.md shows.

type GreetArgs struct {
	Name string `json:"name"`
}

var (
	Greet = trefoil.NewMethod[GreetArgs, string]("greet")
	News  = trefoil.NewTopic[string]("news")
)

func greet(_ context.Context, in GreetArgs) (string, error) { return "hello " + in.Name, nil }

func TestGreet(t *testing.T) {
	broker := trefoiltest.New(t)
	require.NoError(t, Greet.Handle(broker.Provide(t), greet)) // registered when Handle returns

	text, err := Greet.Call(t.Context(), broker.Rpc(t), GreetArgs{"you"})
	require.NoError(t, err)
	assert.Equal(t, "hello you", text)
}

func TestCallEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := trefoiltest.New(t)
		err := Greet.Handle(broker.Provide(t), func(ctx context.Context, _ GreetArgs) (string, error) {
			<-ctx.Done() // which comes with the caller's deadline
			return "", ctx.Err()
		})
		require.NoError(t, err)

		begun := time.Now()
		_, err = Greet.Call(t.Context(), broker.Rpc(t), GreetArgs{}, trefoil.Timeout(time.Minute))
		assert.ErrorIs(t, err, abstract.ErrTimeout)
		assert.Equal(t, time.Minute, time.Since(begun))
	})
}

func TestProviderThatDiesGoesOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := trefoiltest.New(t)
		provider := broker.Provide(t)
		require.NoError(t, Greet.Handle(provider, greet))
		discovery := broker.Dial(t).Discovery()
		list, err := discovery.Discover(t.Context(), Greet.Name()) // from now on we are told
		require.NoError(t, err)
		require.Len(t, list, 1)
		offline := make(chan abstract.Provider, 1)
		discovery.OnOffline(func(p abstract.Provider) { offline <- p })

		provider.Kill()
		assert.Equal(t, list[0].Host, (<-offline).Host)
	})
}

func TestMachineThatLosesItsPowerGoesOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := trefoiltest.New(t, server.WithPing(time.Second, 3))
		provider := broker.Provide(t)
		require.NoError(t, Greet.Handle(provider, greet))
		discovery := broker.Dial(t).Discovery()
		_, err := discovery.Discover(t.Context(), Greet.Name())
		require.NoError(t, err)
		offline := make(chan abstract.Provider, 1)
		discovery.OnOffline(func(p abstract.Provider) { offline <- p })

		begun := time.Now()
		provider.Vanish() // nobody is told anything: only pings find out
		<-offline
		assert.Greater(t, time.Since(begun), 2*time.Second)
		assert.Less(t, time.Since(begun), 5*time.Second)
	})
}

func TestRegistrationThatIsNotRenewedExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := trefoiltest.New(t)
		program := broker.Dial(t, client.WithAutoHeartbeat(false)) // renews its registrations itself
		p := abstract.Provider{Method: "greet", Host: abstract.Host{IP: "10.0.0.7", Port: 9000}, TTL: 3 * time.Minute}
		require.NoError(t, program.Registry().Register(t.Context(), p))

		discovery := broker.Dial(t).Discovery()
		time.Sleep(170 * time.Second)
		require.NoError(t, program.Registry().Heartbeat(t.Context(), p))
		time.Sleep(170 * time.Second)
		list, err := discovery.Discover(t.Context(), Greet.Name())
		require.NoError(t, err)
		assert.Len(t, list, 1)
		time.Sleep(time.Minute)
		list, err = discovery.Discover(t.Context(), Greet.Name())
		require.NoError(t, err)
		assert.Empty(t, list)
	})
}

func TestEverythingIsBackAfterTheBrokerHasRestarted(t *testing.T) {
	broker := trefoiltest.New(t)
	require.NoError(t, Greet.Handle(broker.Provide(t), greet))
	writer, reader := broker.Dial(t).Topics(), broker.Dial(t).Topics()
	require.NoError(t, News.Create(t.Context(), writer))
	got := make(chan string, 1)
	_, err := News.SubscribeFunc(t.Context(), reader, func(_ context.Context, m trefoil.Message[string], err error) { got <- m.Value })
	require.NoError(t, err)

	broker.Restart() // what it knew is lost
	broker.Settle()  // and all have told it again
	require.NoError(t, News.Publish(t.Context(), writer, "we are back"))
	assert.Equal(t, "we are back", <-got)
	list, err := broker.Dial(t).Discovery().Discover(t.Context(), Greet.Name())
	require.NoError(t, err)
	assert.Len(t, list, 1)
}

func TestSessionNodeGoesWithItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := trefoiltest.New(t, server.WithSessions(time.Hour, 3), server.WithPing(time.Hour, 3))
		worker, boss := broker.Dial(t).Nodes(), broker.Dial(t).Nodes()
		lost := broker.Dial(t)
		for name, nodes := range map[string]*client.NodeClient{"/worker": worker, "/lost": lost.Nodes()} {
			_, err := nodes.Create(t.Context(), name, nil, client.SessionNode())
			require.NoError(t, err)
		}
		there := func(path string) bool {
			ok, err := boss.Exists(t.Context(), path)
			require.NoError(t, err)
			return ok
		}

		lost.Kill()
		time.Sleep(2 * time.Hour)
		assert.True(t, there("/lost"), "it may come back")
		time.Sleep(2 * time.Hour)
		assert.False(t, there("/lost"))
		assert.True(t, there("/worker"), "whose heart has beaten all the time")
	})
}

func TestCertificatesSayWhoSomebodyIs(t *testing.T) {
	policy, err := access.ParsePolicy([]byte(`{
		"identities": {"editor": {"allow": {"create_topic": ["news"], "publish": ["news"]}}},
		"certificates": [{"common_name": "desk-1", "identity": "editor"}]
	}`))
	require.NoError(t, err)
	broker := trefoiltest.NewTLS(t, server.WithGuard(access.NewGuard(policy, nil)))

	editor := broker.As("desk-1").Dial(t).Topics()
	require.NoError(t, News.Create(t.Context(), editor))
	require.NoError(t, News.Publish(t.Context(), editor, "trefoils have three leaves"))
	for _, stranger := range []*trefoiltest.Client{broker.As("desk-2").Dial(t), broker.Dial(t)} {
		err := News.Publish(t.Context(), stranger.Topics(), "they have four")
		assert.ErrorIs(t, err, abstract.ErrDenied)
	}
}
