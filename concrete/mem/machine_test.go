package mem_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/abstract/transporttest"
	"trefoil/concrete/mem"
)

// office is a served machine, and a connection from each of two others.
type office struct {
	*testing.T
	n                  *mem.Network
	desk, other, house *mem.Machine
	client             abstract.BaseClient // on the desk
	here, there        *taker              // both ends of the desk's connection
	aside              *taker              // the other machine's end of its own
}

func inOffice(t *testing.T, f func(o *office)) {
	synctest.Test(t, func(t *testing.T) {
		n, clients, servers := mem.NewNetwork(), make(chan *taker, 10), make(chan *taker, 10)
		o := &office{T: t, n: n, desk: n.Machine(), other: n.Machine(), house: n.Machine()}
		srv := o.house.Server("srv", settings(servers))
		require.NoError(t, srv.Listen())
		served := make(chan error, 1)
		go func() { served <- srv.Serve() }()
		o.client = o.desk.Client("srv", settings(clients))
		_, err := o.client.Connect(t.Context())
		require.NoError(t, err)
		o.here, o.there = <-clients, <-servers
		_, err = o.other.Client("srv", settings(clients)).Connect(t.Context())
		require.NoError(t, err)
		o.aside = <-clients
		<-servers
		f(o)
		for _, m := range []*mem.Machine{o.desk, o.house} {
			m.Blackhole(false)
			m.Stall(false)
		}
		o.here.Close(nil)
		o.aside.Close(nil)
		require.NoError(t, srv.Shutdown(context.Background()))
		require.NoError(t, <-served)
	})
}

// untouched checks that the other machine's connection lives.
func (o *office) untouched() {
	o.Helper()
	require.NoError(o, o.aside.Err())
	require.NoError(o, o.aside.Send(&transporttest.Message{N: 9}))
}

// again opens another connection from the desk.
func (o *office) again() {
	o.Helper()
	conn, err := o.client.Connect(o.Context())
	require.NoError(o, err)
	conn.Close(nil)
}

func TestMachineIsCutOffAlone(t *testing.T) {
	inOffice(t, func(o *office) {
		o.desk.Cut()
		assert.Equal(o, io.EOF, <-o.here.closed)
		assert.Equal(o, io.EOF, <-o.there.closed)
		o.untouched()
		o.again()
	})
}

func TestCutOfAServersMachineIsFeltByAll(t *testing.T) {
	inOffice(t, func(o *office) {
		o.house.Cut()
		assert.Equal(o, io.EOF, <-o.here.closed)
		assert.Equal(o, io.EOF, <-o.aside.closed)
		o.again()
	})
}

func TestMachineRefusesFromAndTo(t *testing.T) {
	inOffice(t, func(o *office) {
		for _, m := range []*mem.Machine{o.desk, o.house} {
			m.Refuse(true)
			_, err := o.client.Connect(o.Context())
			require.ErrorIs(o, err, abstract.ErrUnavailable)
			m.Refuse(false)
			o.again()
		}
		o.desk.Refuse(true)
		_, err := o.other.Dial(o.Context(), "srv")
		require.NoError(o, err, "only the desk is refused")
	})
}

func TestMachineInABlackhole(t *testing.T) {
	inOffice(t, func(o *office) {
		o.desk.Blackhole(true)
		require.NoError(o, o.here.Send(&transporttest.Message{N: 1}))
		require.NoError(o, o.there.Send(&transporttest.Message{N: 2}))
		connected := make(chan error, 1)
		go func() {
			conn, err := o.client.Connect(o.Context())
			connected <- err
			conn.Close(nil)
		}()
		synctest.Wait()
		assert.Empty(o, o.there.got)
		assert.Empty(o, o.here.got)
		assert.Empty(o, connected)
		o.untouched()

		o.n.Blackhole(true)
		o.n.Blackhole(false)
		assert.NoError(o, o.here.Err(), "the machine's own hole is still there")
		o.desk.Blackhole(false)
		require.NoError(o, <-connected)
		assert.Equal(o, io.EOF, <-o.here.closed)
		assert.Equal(o, io.EOF, <-o.there.closed)
	})
}

func TestStrandedConnectionsNeverHeal(t *testing.T) {
	inOffice(t, func(o *office) {
		o.desk.Strand()
		o.again()
		require.NoError(o, o.there.Send(&transporttest.Message{N: 1}))
		o.desk.Blackhole(true)
		o.desk.Blackhole(false)
		o.there.Close(nil)
		synctest.Wait()
		assert.Empty(o, o.here.got)
		assert.NoError(o, o.here.Err())
		o.untouched()
	})
}

func TestStalledMachineReadsLater(t *testing.T) {
	inOffice(t, func(o *office) {
		o.desk.Stall(true)
		require.NoError(o, o.there.Send(&transporttest.Message{N: 1}))
		require.NoError(o, o.here.Send(&transporttest.Message{N: 2}), "what it sends goes out")
		assert.Equal(o, uint64(2), <-o.there.got)
		o.there.Close(nil)
		synctest.Wait()
		assert.Empty(o, o.here.got)
		assert.NoError(o, o.here.Err())
		o.desk.Stall(false)
		assert.Equal(o, uint64(1), <-o.here.got)
		assert.Equal(o, io.EOF, <-o.here.closed)
	})
}
