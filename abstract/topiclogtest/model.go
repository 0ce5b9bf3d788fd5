package topiclogtest

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
)

// model is a log as it should be, slowly: every entry there ever was, and which of them
// are kept.
type model struct {
	entries []abstract.LogEntry // of offset 1 and up
	kept    []abstract.LogEntry
	count   int
}

func (m *model) trim() { m.kept = m.kept[max(len(m.kept)-m.count, 0):] }

func (m *model) delete(offset uint64) {
	m.kept = slices.DeleteFunc(m.kept, func(e abstract.LogEntry) bool { return e.Offset == offset })
}

func (m *model) first() uint64 {
	if len(m.kept) == 0 {
		return uint64(len(m.entries) + 1)
	}
	return m.kept[0].Offset
}

// append returns what Append must return.
func (m *model) append(entries []abstract.LogEntry) []abstract.LogOffset {
	offsets := make([]abstract.LogOffset, len(entries))
	for i, e := range entries {
		for k, old := range m.entries {
			if e.ID != "" && old.ID == e.ID {
				offsets[i] = abstract.LogOffset{Offset: uint64(k + 1), Duplicate: true}
			}
		}
		if offsets[i].Duplicate {
			continue
		}
		e.Offset = uint64(len(m.entries) + 1)
		m.entries, m.kept = append(m.entries, e), append(m.kept, e)
		m.trim()
		offsets[i].Offset = e.Offset
	}
	return offsets
}

func (m *model) read(from, most int) []abstract.LogEntry {
	i := 0
	for i < len(m.kept) && m.kept[i].Offset < uint64(from) {
		i++
	}
	return m.kept[i:min(len(m.kept), i+most)]
}

// agreesWithAModel does random things to a log and to a model, and compares.
func agreesWithAModel(t *testing.T, b *bench) {
	if b.driver.Slow {
		fewerChecks(t)
	}
	run := 0
	rapid.Check(t, func(r *rapid.T) {
		run++
		topic, m := fmt.Sprint("model ", run), &model{count: 1000}
		cfg := func() abstract.LogConfig {
			return abstract.LogConfig{History: abstract.History{Count: m.count}, Dedup: time.Hour}
		}
		l := b.open(topic, "1", cfg())
		defer b.remove(topic, "1")
		r.Repeat(map[string]func(*rapid.T){
			"append": func(r *rapid.T) {
				var entries []abstract.LogEntry
				for range rapid.IntRange(1, 20).Draw(r, "entries") {
					id := rapid.SampledFrom([]string{"", "", "", "a", "b", "c", "d"}).Draw(r, "id")
					entries = append(entries, abstract.LogEntry{ID: id, Data: []byte(fmt.Sprint(len(entries), id))})
				}
				got, err := l.Append(within(t), entries)
				require.NoError(r, err)
				assert.Equal(r, m.append(entries), got)
			},
			"read": func(r *rapid.T) {
				from, most := rapid.IntRange(0, len(m.entries)+2).Draw(r, "from"), rapid.IntRange(1, 30).Draw(r, "most")
				got, err := l.Read(within(t), uint64(from), most, 1<<20)
				require.NoError(r, err)
				assert.Equal(r, show(m.read(from, most)), show(got))
			},
			"bound": func(r *rapid.T) {
				m.count = min(m.count, rapid.IntRange(1, 40).Draw(r, "count")) // what has gone does not come back
				m.trim()
				l = b.open(topic, "1", cfg())
			},
			"delete": func(r *rapid.T) {
				var offsets []uint64
				for range rapid.IntRange(1, 3).Draw(r, "offsets") {
					o := uint64(rapid.IntRange(0, len(m.entries)+1).Draw(r, "offset"))
					offsets = append(offsets, o)
					m.delete(o)
				}
				require.NoError(r, l.Delete(within(t), offsets...))
			},
			"": func(r *rapid.T) {
				first, last, err := l.Bounds(within(t))
				require.NoError(r, err)
				assert.EqualValues(r, len(m.entries), last)
				assert.Equal(r, m.first(), first)
			},
		})
	})
}

// fewerChecks makes rapid do a tenth of what it is told to, until the test ends.
func fewerChecks(t *testing.T) {
	const name = "rapid.checks"
	was := flag.Lookup(name).Value.String()
	n, err := strconv.Atoi(was)
	require.NoError(t, err)
	require.NoError(t, flag.Set(name, strconv.Itoa(max(n/10, 1))))
	t.Cleanup(func() { require.NoError(t, flag.Set(name, was)) })
}
