package topiclogtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func deletedIsNotRead(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	other := b.open("other", "1", plenty)
	other.append("o")
	l.append("a", "b", "c", "d", "e", "f")
	l.delete()
	l.delete(0, 7, 1<<40)
	assert.Equal(t, "1=a 2=b 3=c 4=d 5=e 6=f", show(l.all(0)), "what is not there is no error, and does nothing")
	l.delete(3, 4, 3)
	l.delete(4)
	assert.Equal(t, "1=a 2=b 5=e 6=f", show(l.all(0)))
	assert.Equal(t, "5=e 6=f", show(l.all(3)))
	assert.Equal(t, "2=b 5=e", show(l.read(2, 2, 1<<20)), "so many are read all the same")
	all := l.all(0)
	at, err := l.OffsetAt(within(t), all[1].Time.Add(time.Nanosecond))
	require.NoError(t, err)
	assert.Contains(t, []uint64{5, 6, 7}, at, "times of what is there")

	l.delete(1)
	first, last := l.bounds()
	assert.Equal(t, []uint64{2, 6}, []uint64{first, last})
	l.delete(6)
	first, last = l.bounds()
	assert.Equal(t, []uint64{2, 6}, []uint64{first, last}, "last is where the last one stood")
	assert.EqualValues(t, 7, l.append("g"), "offsets are not used again")
	l.delete(2, 5, 7)
	first, last = l.bounds()
	assert.Equal(t, []uint64{8, 7}, []uint64{first, last})
	assert.Empty(t, l.all(0))
	assert.EqualValues(t, 8, l.append("h"))
	assert.Equal(t, "8=h", show(l.all(0)))
	assert.Equal(t, "1=o", show(other.all(0)))
}

// deletedMakesRoom checks that what was deleted does not count, and that its id does.
func deletedMakesRoom(t *testing.T, b *bench) {
	l := b.open("t", "1", abstract.LogConfig{History: abstract.History{Count: 3}, Dedup: time.Hour})
	l.ids("a", "b", "c")
	l.delete(2)
	l.ids("d")
	assert.Equal(t, "1=a 3=c 4=d", show(l.all(0)))
	assert.Equal(t, []abstract.LogOffset{{Offset: 2, Duplicate: true}}, l.ids("b"))
	l.ids("e")
	assert.Equal(t, "3=c 4=d 5=e", show(l.all(0)))
}

func deletedStaysDeleted(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	l.append("a", "b", "c", "d")
	l.delete(1, 3, 4)
	emptied := b.open("emptied", "1", plenty)
	emptied.append("a", "b")
	emptied.delete(2, 1)
	b.reopen()
	l, emptied = b.open("t", "1", plenty), b.open("emptied", "1", plenty)
	assert.Equal(t, "2=b", show(l.all(0)))
	assert.EqualValues(t, 5, l.append("e"))
	first, last := emptied.bounds()
	assert.Equal(t, []uint64{3, 2}, []uint64{first, last})
	assert.EqualValues(t, 3, emptied.append("c"))
}

func deletedIsNotDelivered(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	l.append("a", "b", "c", "d", "e")
	c := l.consumer("c", never)
	list := c.fetch(2)
	l.delete(1, 4)
	require.NoError(t, list[0].Nack(within(t), 0), "given back, and gone")
	require.NoError(t, list[1].Nack(within(t), 0))
	var got []string
	for len(got) < 3 {
		d := c.fetch(1)[0]
		got = append(got, string(d.Entry().Data))
		ack(t, d)
	}
	require.ElementsMatch(t, []string{"b", "c", "e"}, got)
	c.nothing(aMoment)
	l.delete(5)
	eventually(t, "nothing is left", func() bool {
		info := c.info()
		return info.Pending == 0 && info.Unacked == 0
	})
	l.append("f")
	c.again("f", 1)
}

// manyAreDeleted deletes the beginning of a log, of which a consumer has some in hand, and
// then all of it.
func manyAreDeleted(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	l.append(numbered(60)...)
	c := l.consumer("c", never)
	c.fetch(5)
	l.delete(offsetsOf(1, 40)...)
	l.delete(offsetsOf(1, 42)...)
	first, last := l.bounds()
	assert.Equal(t, []uint64{43, 60}, []uint64{first, last})
	assert.Len(t, l.all(0), 18)
	d := c.fetch(1)[0]
	assert.Equal(t, "42", string(d.Entry().Data))
	ack(t, d)
	l.delete(offsetsOf(43, 60)...)
	assert.Empty(t, l.all(0))
	c.nothing(aMoment)
	eventually(t, "nothing is left", func() bool {
		info := c.info()
		return info.Pending == 0 && info.Unacked == 0
	})
	b.reopen()
	l = b.open("t", "1", plenty)
	first, last = l.bounds()
	assert.Equal(t, []uint64{61, 60}, []uint64{first, last})
	assert.EqualValues(t, 61, l.append("next"))
	ack(t, l.consumer("c", never).next("next", 1))
}

// offsetsOf are those from first to last.
func offsetsOf(first, last uint64) (list []uint64) {
	for o := first; o <= last; o++ {
		list = append(list, o)
	}
	return list
}
