package roster

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func provider(port int) abstract.Provider {
	return abstract.Provider{Method: "m", Host: abstract.Host{IP: "h", Port: port}, Instance: "i", Hello: true}
}

func list(ports ...int) []abstract.Provider {
	var l []abstract.Provider
	for _, port := range ports {
		l = append(l, provider(port))
	}
	return l
}

func TestHeldProvidersGoWhenTheirOwnTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		defer r.Close()
		var told atomic.Pointer[abstract.Providers]
		stop := r.Follow(func(p abstract.Providers) { told.Store(&p) })
		defer stop()
		last := func() abstract.Providers {
			synctest.Wait()
			return *told.Load()
		}
		r.Set(list(1, 2, 3), 0)
		assert.Equal(t, list(1, 2, 3), last().Online)
		r.Set(list(2, 3), 10*time.Second)
		assert.Equal(t, list(1), last().Held)
		time.Sleep(5 * time.Second)
		r.Set(list(3), 10*time.Second)
		assert.Equal(t, list(1, 2), last().Held)
		r.Set(list(3, 4), 0) // does not end the time of the others
		assert.Equal(t, list(1, 2), last().Held)
		assert.Equal(t, list(4), last().Online)
		assert.Empty(t, last().Offline)
		time.Sleep(5*time.Second + time.Millisecond)
		assert.Equal(t, list(1), last().Offline)
		assert.Equal(t, list(2), last().Held)
		r.Set(list(2, 3, 4), 0) // it is back
		assert.Empty(t, last().Held)
		assert.Empty(t, last().Offline)
		time.Sleep(time.Minute)
		r.Set(list(3, 4), 0)
		assert.Equal(t, list(2), last().Offline)
	})
}

func TestAddressOfSomebodyElseIsNotHeld(t *testing.T) {
	r := New()
	defer r.Close()
	r.Set(list(1), 0)
	next := provider(1)
	next.Instance = "next"
	r.Set([]abstract.Provider{next}, time.Hour)
	have, err := r.List()
	require.NoError(t, err)
	assert.Equal(t, []abstract.Provider{next}, have)
}

func TestProblemIsToldUntilThereIsAList(t *testing.T) {
	r := New()
	defer r.Close()
	r.Fail(abstract.ErrDenied)
	require.NoError(t, r.Await(t.Context(), t.Context()))
	_, err := r.List()
	require.ErrorIs(t, err, abstract.ErrDenied)
	r.Set(nil, 0)
	r.Fail(abstract.ErrDenied)
	have, err := r.List()
	require.NoError(t, err, "the last good list stays")
	assert.Empty(t, have)
}

func TestNobodyIsCalledAfterClose(t *testing.T) {
	r := New()
	r.Follow(func(abstract.Providers) {})
	r.Set(list(1), 0)
	r.Set(nil, time.Hour)
	r.Close()
	r.Set(list(1, 2), time.Hour)
	r.Fail(abstract.ErrDenied)
	stop := r.Follow(func(abstract.Providers) { assert.Fail(t, "called") })
	stop()
	r.Close()
}

func TestRecordsOfOthersAreNotTrusted(t *testing.T) {
	p := provider(1)
	p.Traits = abstract.Traits{Weight: 5, Zone: "z", Version: "1", Tags: abstract.NewTags("a", "b"), Meta: abstract.NewMeta(map[string]string{"k": "v"}), State: abstract.Retiring}
	require.NoError(t, Check(p))
	back, ok := Decode("m", Encode(p))
	require.True(t, ok)
	assert.Equal(t, p, back)
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "10.0.0.1:1", "a list": "[]", "no address": "{}", "no port": `{"ip":"h"}`, "a port too high": `{"ip":"h","port":65536}`,
		"a negative port": `{"ip":"h","port":-1}`, "a port as text": `{"ip":"h","port":"1"}`, "too long": `{"ip":"h","port":1,"zone":"` + strings.Repeat("x", maxRecord) + `"}`,
	} {
		_, ok := Decode("m", []byte(text))
		assert.False(t, ok, name)
	}
	back, ok = Decode("m", []byte(`{"ip":"h","port":1,"weight":-5,"state":"strange"}`))
	require.True(t, ok)
	assert.Equal(t, abstract.Provider{Method: "m", Host: abstract.Host{IP: "h", Port: 1}}, back)
}

func TestAwaitPrefersTheAnswer(t *testing.T) {
	r := New()
	defer r.Close()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, r.Await(over, t.Context()), context.Canceled)
	require.ErrorIs(t, r.Await(t.Context(), over), context.Canceled)
	r.Set(nil, 0)
	require.NoError(t, r.Await(over, over))
}

func TestRefusedFollowerIsToldOnceOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		stop := Refuse(abstract.ErrDenied, func(p abstract.Providers) {
			assert.ErrorIs(t, p.Err, abstract.ErrDenied)
			told++
		})
		synctest.Wait()
		stop()
		stop()
		assert.Equal(t, 1, told)

		running, free := make(chan struct{}), make(chan struct{})
		stop = Refuse(abstract.ErrDenied, func(abstract.Providers) { close(running); <-free; told++ })
		<-running
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		synctest.Wait()
		select {
		case <-stopped:
			assert.Fail(t, "stop returned while the follower runs")
		default:
		}
		close(free)
		<-stopped
		assert.Equal(t, 2, told)
	})
}
