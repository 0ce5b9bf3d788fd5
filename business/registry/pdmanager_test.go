package registry

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

func TestProviderThatReconnectsKeepsItsPlace(t *testing.T) {
	b := newBroker(t, Config{})
	b.discover(9, "sum")
	assert.Equal(t, []Notice{online(9, "sum", modern(1, "i"))}, b.register(1, modern(1, "i"), "sum"))
	b.register(2, modern(2, "j"), "sum")
	assert.Empty(t, b.register(3, modern(1, "i"), "sum"), "the new connection comes before the old one is missed")
	assert.Empty(t, b.gone(1), "the old one goes")
	assert.Equal(t, []message.ProviderHost{modern(1, "i"), modern(2, "j")}, b.discover(9, "sum"))
	assert.Equal(t, []Notice{offline(9, 3, Disconnected, "sum", modern(1, "i"))}, b.gone(3))
}

// TestProviderThatComesBackOutlivesWhatIsLeftOfIt has two connections offer a host. One of
// them is lost and held; it comes back over a new connection while the other one takes
// the host back, and with it what is held there.
func TestProviderThatComesBackOutlivesWhatIsLeftOfIt(t *testing.T) {
	tests := []struct {
		name  string
		steps string   // plan to come back, plan to take back, do either
		told  []string // the discoverer
	}{
		{"taken back, then there again", "plan-back plan-take take back", []string{
			"1 offline sum 10.0.0.1:2 revision=2 reason=unregistered",
			"1 online sum 10.0.0.1:2 revision=3",
		}},
		{"there again, then taken back", "plan-back plan-take back take", nil},
		{"one after the other", "plan-back back plan-take take", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBroker(t, Config{})
			b.register(4, at(2), "sum")
			require.Equal(t, []message.ProviderHost{at(2)}, b.discover(1, "sum"))
			require.Empty(t, b.register(6, at(2), "sum"))
			b.pd.Forget(6)
			require.Empty(t, b.pd.Lose(6), "4 still offers the host")

			var back, take abstract.Txn
			var err error
			var told []string
			for step := range strings.FieldsSeq(tt.steps) {
				switch step {
				case "plan-back":
					back, err = b.pd.PlanRegister(7, at(2), "sum")
					require.NoError(t, err)
					require.Len(t, back.Then, 1, "a connection's registration is its own, whoever else offers the host")
				case "plan-take":
					take, err = b.pd.PlanUnregister(4, Unregistered, at(2), "sum")
					require.NoError(t, err)
					require.Len(t, take.Then, 2, "that of 4, and what is left of 6")
				case "back":
					told = append(told, answer(b.run(back), "")...)
				case "take":
					told = append(told, answer(b.run(take), "")...)
				}
			}
			assert.Equal(t, tt.told, told)
			assert.Equal(t, []message.ProviderHost{at(2)}, b.discover(1, "sum"))
			assert.Empty(t, b.gone(6), "nothing is left of it")
			assert.Len(t, b.gone(7), 1, "there was nobody else")
		})
	}
}

func TestRegisteringAgainChangesNothing(t *testing.T) {
	b := newBroker(t, Config{})
	b.discover(9, "sum")
	require.Len(t, b.register(1, at(1), "sum"), 1)
	txn, err := b.pd.PlanRegister(1, at(1), "sum")
	require.NoError(t, err)
	assert.Empty(t, txn.Then)
	assert.Len(t, b.discover(9, "sum"), 1)
}

func TestRegisteringTwiceAtOnceIsOneProvider(t *testing.T) {
	b := newBroker(t, Config{})
	b.discover(9, "sum")
	first, err := b.pd.PlanRegister(1, at(1), "sum")
	require.NoError(t, err)
	second, err := b.pd.PlanRegister(1, at(1), "sum")
	require.NoError(t, err)
	assert.Len(t, b.run(first), 1)
	assert.Empty(t, b.run(second), "nobody hears of it twice")
	assert.Len(t, b.gone(1), 1)
}

func TestUnregisterTakesBackOnlyOnesOwn(t *testing.T) {
	b := newBroker(t, Config{})
	b.discover(9, "sum")
	b.register(1, modern(1, "i"), "sum")
	for name, p := range map[string]message.ProviderHost{"another host": modern(2, "i"), "another instance": modern(1, "j"), "no instance": at(1)} {
		txn, err := b.pd.PlanUnregister(1, Unregistered, p, "sum")
		require.NoError(t, err)
		assert.Empty(t, txn.Then, name)
	}
	txn, err := b.pd.PlanUnregister(2, Unregistered, modern(1, "i"), "sum")
	require.NoError(t, err)
	assert.Empty(t, txn.Then, "another connection")
	assert.Equal(t, []Notice{offline(9, 2, Unregistered, "sum", modern(1, "i"))}, b.unregister(1, modern(1, "i"), "sum"))
}

func TestHostIsShownAsItsNewestModernProvider(t *testing.T) {
	tests := []struct {
		name string
		come []message.ProviderHost // one connection each
		want message.ProviderHost
	}{
		{"legacy", []message.ProviderHost{at(1)}, at(1)},
		{"modern after legacy", []message.ProviderHost{at(1), modern(1, "i")}, modern(1, "i")},
		{"legacy after modern", []message.ProviderHost{modern(1, "i"), at(1)}, modern(1, "i")},
		{"restarted", []message.ProviderHost{modern(1, "old"), modern(1, "new")}, modern(1, "new")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBroker(t, Config{})
			for i, p := range tt.come {
				b.register(ConnID(i+1), p, "sum")
			}
			assert.Equal(t, []message.ProviderHost{tt.want}, b.discover(9, "sum"))
		})
	}
}

func TestDiscoveryIsNotChangedAfterwards(t *testing.T) {
	b := newBroker(t, Config{})
	b.register(1, at(1), "sum")
	before := b.discover(9, "sum")
	b.register(1, at(2), "sum")
	b.unregister(1, at(1), "sum")
	assert.Equal(t, []message.ProviderHost{at(1)}, before)
	assert.Equal(t, []message.ProviderHost{at(2)}, b.discover(9, "sum"))
}

func TestDiscoveryKeepsNothingOfTheRequest(t *testing.T) {
	b := newBroker(t, Config{})
	frame := []byte("sum")
	name := unsafe.String(&frame[0], len(frame)) // as a decoder makes it
	b.discover(9, name)
	copy(frame, "XXX")
	assert.Contains(t, b.pd.methods, "sum", "the name outlives the frame it came in")
	assert.Len(t, b.register(1, at(1), "sum"), 1)
}

func TestPlansDeleteWhateverAConnectionProvides(t *testing.T) {
	b := newBroker(t, Config{})
	for i := range 2*MaxOps + 1 {
		b.register(1, at(1), fmt.Sprint("m", i))
	}
	b.register(2, at(1), "m0")
	txns := b.pd.PlanDisconnect(1, Disconnected)
	require.Len(t, txns, 3)
	for _, txn := range txns {
		assert.LessOrEqual(t, len(txn.Then), MaxOps)
	}
	b.run(txns[1])
	assert.Len(t, b.pd.PlanDisconnect(1, Disconnected), 2, "what failed is planned again")
	b.gone(1)
	assert.Nil(t, b.pd.PlanDisconnect(1, Disconnected))
	kvs, _, err := b.store.Range(t.Context(), Prefix, 0)
	require.NoError(t, err)
	require.Len(t, kvs, 1)
	assert.Equal(t, "/services/m0/local-2/10.0.0.1:1", kvs[0].Key)
}

func TestLimits(t *testing.T) {
	b := newBroker(t, Config{MaxProvidersPerConn: 2, MaxMethodsPerDiscoverer: 2, MaxProvidersPerMethod: 3, MaxMethod: 8, MaxIP: 9, MaxInstance: 4})
	b.register(1, at(1), "sum")
	b.register(1, at(2), "sum")
	b.register(2, at(1), "sum")
	b.discover(9, "sum")
	b.discover(9, "max")
	host := func(ip string, port int) message.ProviderHost {
		return message.ProviderHost{Host: abstract.Host{IP: ip, Port: port}}
	}
	register := func(conn ConnID, method string, p message.ProviderHost) func() error {
		return func() error { _, err := b.pd.PlanRegister(conn, p, method); return err }
	}
	unregister := func(conn ConnID, method string, p message.ProviderHost) func() error {
		return func() error { _, err := b.pd.PlanUnregister(conn, Unregistered, p, method); return err }
	}
	discover := func(conn ConnID, method string) func() error {
		return func() error { _, _, err := b.pd.Discover(conn, method); return err }
	}
	tests := []struct {
		name string
		do   func() error
		want abstract.RCode
	}{
		{"providers of a connection", register(1, "max", at(1)), abstract.Overloaded},
		{"a provider it has already", register(1, "sum", at(2)), abstract.OK},
		{"providers of a method", register(3, "sum", at(3)), abstract.Overloaded},
		{"another method", register(3, "max", at(3)), abstract.OK},
		{"methods of a discoverer", discover(9, "min"), abstract.Overloaded},
		{"a method it discovers already", discover(9, "max"), abstract.ServiceNotFound},
		{"another discoverer", discover(8, "sum"), abstract.OK},
		{"method as long as allowed", register(3, strings.Repeat("m", 8), at(1)), abstract.OK},
		{"method too long", register(3, strings.Repeat("m", 9), at(1)), abstract.InvalidParams},
		{"method empty", register(3, "", at(1)), abstract.InvalidParams},
		{"unregister: method too long", unregister(3, strings.Repeat("m", 9), at(1)), abstract.InvalidParams},
		{"discover: method too long", discover(8, strings.Repeat("m", 9)), abstract.InvalidParams},
		{"discover: method empty", discover(8, ""), abstract.InvalidParams},
		{"ip too long", register(3, "max", host(strings.Repeat("i", 10), 1)), abstract.InvalidParams},
		{"ip empty", register(3, "max", host("", 1)), abstract.InvalidParams},
		{"port 0", register(3, "max", host("h", 0)), abstract.InvalidParams},
		{"port too high", register(3, "max", host("h", 65536)), abstract.InvalidParams},
		{"port below 0", register(3, "max", host("h", -1)), abstract.InvalidParams},
		{"highest port", register(3, "max", host("h", 65535)), abstract.OK},
		{"instance too long", register(3, "max", modern(1, "12345")), abstract.InvalidParams},
		{"unregister: port 0", unregister(3, "max", host("h", 0)), abstract.InvalidParams},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.do()
			assert.Equal(t, tt.want, abstract.CodeOf(err), "%v", err)
			check(t, b.pd)
		})
	}
	assert.NotContains(t, b.pd.methods, "min", "a refused discovery leaves nothing")
}

func TestChangesAreAppliedOnce(t *testing.T) {
	m := NewPDManager(Config{})
	_, _, err := m.Discover(9, "sum")
	require.Error(t, err)
	e := entry{"sum", owner{"elsewhere", 1}, "", at(1).Host}
	put := abstract.Change{Revision: 5, Events: []abstract.Event{{KV: abstract.KV{Key: e.key()}}}}
	assert.Equal(t, []Notice{online(9, "sum", at(1))}, m.Apply(put))
	assert.EqualValues(t, 5, m.Applied())
	gone := abstract.Change{Revision: 5, Events: []abstract.Event{{Deleted: true, KV: abstract.KV{Key: e.key()}}}}
	assert.Empty(t, m.Apply(gone), "revision 5 has been applied")
	gone.Revision = 4
	assert.Empty(t, m.Apply(gone))
	gone.Revision = 6
	assert.Equal(t, []Notice{offline(9, 2, Unknown, "sum", at(1))}, m.Apply(gone))
	gone.Revision = 7
	assert.Empty(t, m.Apply(gone), "it is not there")
	assert.EqualValues(t, 7, m.Applied())
	check(t, m)
}

func TestForeignKeysAreIgnored(t *testing.T) {
	m := NewPDManager(Config{})
	for i, key := range []string{"/topics/x", Prefix, Prefix + "sum", Prefix + "sum/local-1/h:0"} {
		kv := abstract.KV{Key: key}
		assert.Empty(t, m.Apply(abstract.Change{Revision: int64(i) + 1, Events: []abstract.Event{{KV: kv}}}))
	}
	assert.Empty(t, m.methods)
	assert.EqualValues(t, 4, m.Applied(), "there is nothing in them to wait for")
}

func TestProvidersOfOtherBrokersAreNotOurs(t *testing.T) {
	b := newBroker(t, Config{Broker: "a"})
	other := NewPDManager(Config{Broker: "b"})
	b.store.Follow(Prefix, func(c abstract.Change) { other.Apply(c) })
	b.register(1, at(1), "sum")
	hosts, _, err := other.Discover(9, "sum")
	require.NoError(t, err)
	assert.Equal(t, []message.ProviderHost{at(1)}, hosts)
	assert.Empty(t, other.PlanDisconnect(1, Disconnected), "its connection 1 is another one")
	txn, err := other.PlanUnregister(1, Unregistered, at(1), "sum")
	require.NoError(t, err)
	assert.Empty(t, txn.Then)
	check(t, other)
}

func TestLoadTellsTheDifference(t *testing.T) {
	b := newBroker(t, Config{Broker: "a"})
	b.register(1, at(1), "stays")
	b.register(1, at(1), "goes")
	b.register(1, at(1), "moves")
	kvs, rev := list(t, b)

	m := NewPDManager(Config{Broker: "b"})
	notices, ok := m.Load(kvs, rev)
	require.True(t, ok)
	assert.Empty(t, notices, "nobody has asked yet")
	for _, method := range []string{"stays", "goes", "moves", "comes"} {
		_, _, _ = m.Discover(9, method)
	}
	b.unregister(1, at(1), "goes")
	b.register(2, at(2), "comes")
	b.register(2, at(1), "moves")
	b.unregister(1, at(1), "moves")
	kvs, rev = list(t, b)
	notices, ok = m.Load(kvs, rev)
	require.True(t, ok)
	assert.Equal(t, []Notice{online(9, "comes", at(2)), offline(9, 2, Unknown, "goes", at(1))}, notices)
	assert.Equal(t, rev, m.Applied())
	check(t, m)

	_, ok = m.Load(nil, rev-1)
	assert.False(t, ok, "older than the index")
	assert.Equal(t, rev, m.Applied())
	notices, ok = m.Load(kvs, rev)
	assert.True(t, ok)
	assert.Empty(t, notices)
}

func list(t *testing.T, b *broker) ([]abstract.KV, int64) {
	kvs, rev, err := b.store.Range(t.Context(), Prefix, 0)
	require.NoError(t, err)
	return kvs, rev
}
