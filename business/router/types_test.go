package router_test

import (
	"context"
	"net"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/router"
	"trefoil/concrete/message"
)

// level writes itself as text, and reads numbers.
type level int

func (l level) MarshalText() ([]byte, error) { return []byte{'A' + byte(l)}, nil }

// word reads text, and writes a number.
type word int

func (w *word) UnmarshalText(b []byte) error {
	*w = word(len(b))
	return nil
}

// codes write themselves as text; they are a map that may be nil.
type codes map[string]int

func (c codes) MarshalText() ([]byte, error) { return []byte("codes"), nil }

// loop points at nothing but itself.
type loop *loop

func TestTypesAreDescribedByWhatTheyReadOrWrite(t *testing.T) {
	d, err := router.Describe(reflect.TypeFor[struct{ Level, Other level }](), reflect.TypeFor[level]())
	require.NoError(t, err)
	assert.Equal(t, "(Level integer, Other integer) string", d.String())
	d, err = router.Describe(reflect.TypeFor[struct{ Word word }](), reflect.TypeFor[word]())
	require.NoError(t, err)
	assert.Equal(t, "(Word string) integer", d.String())

	r, _ := newRouter()
	handle(t, r, "level", func(_ context.Context, in struct{ Level level }) (level, error) { return in.Level, nil })
	handle(t, r, "word", func(_ context.Context, in struct{ Word word }) (word, error) { return in.Word, nil })
	handle(t, r, "codes", func(context.Context, map[string]any) (codes, error) { return nil, nil })
	handle(t, r, "ip", func(_ context.Context, in struct{ IP net.IP }) (net.IP, error) { return in.IP, nil })
	assert.Equal(t, `"C"`, string(call(r, "level", `{"Level":2}`).Result))
	assert.Equal(t, `3`, string(call(r, "word", `{"Word":"abc"}`).Result))
	assert.Equal(t, `""`, string(call(r, "codes", `{}`).Result))
	assert.Equal(t, `"10.0.0.1"`, string(call(r, "ip", `{"IP":"10.0.0.1"}`).Result))
	assert.Equal(t, `""`, string(call(r, "ip", `{"IP":""}`).Result))
}

func TestWhatJSONHasNoValuesForIsRefused(t *testing.T) {
	anything := reflect.TypeFor[any]()
	for _, in := range []reflect.Type{
		reflect.TypeFor[func()](), reflect.TypeFor[chan int](), reflect.TypeFor[loop](),
		reflect.TypeFor[struct{ F func() }](), reflect.TypeFor[struct{ F *chan int }](),
		reflect.TypeFor[struct {
			F complex128 `json:"f,omitempty"`
		}](), reflect.TypeFor[struct{ F loop }](),
	} {
		t.Run("parameters "+in.String(), func(t *testing.T) {
			_, err := router.Describe(in, anything)
			require.ErrorIs(t, err, abstract.ErrInvalidParams)
		})
	}
	for _, out := range []reflect.Type{reflect.TypeFor[func()](), reflect.TypeFor[*chan int](), reflect.TypeFor[complex64](), reflect.TypeFor[loop]()} {
		t.Run("result "+out.String(), func(t *testing.T) {
			_, err := router.Describe(anything, out)
			require.ErrorIs(t, err, abstract.ErrInvalidParams)
			assert.Contains(t, err.Error(), out.String())
		})
	}
	_, _, err := router.Typed(func(context.Context, struct{}) (func(), error) { return nil, nil })
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	_, err = router.Describe(reflect.TypeFor[struct {
		F func() `json:"-"`
	}](), anything)
	require.NoError(t, err, "what is left out may be anything")
}

func TestNilSlicesAndMapsMayBePassedOn(t *testing.T) {
	type in struct {
		List  []int
		Bytes []byte
		Map   map[string]int
	}
	r, _ := newRouter()
	handle(t, r, "m", func(_ context.Context, in in) (int, error) { return len(in.List) + len(in.Bytes) + len(in.Map), nil })
	params, err := message.Encode(in{})
	require.NoError(t, err)
	require.JSONEq(t, `{"List":null,"Bytes":null,"Map":null}`, string(params))
	assert.Equal(t, `0`, string(call(r, "m", string(params)).Result))
	rsp := call(r, "m", `{"List":null,"Bytes":null}`)
	assert.Equal(t, abstract.InvalidParams, rsp.Code)
	assert.Contains(t, rsp.Message, `needs a parameter "Map" (object)`, "null is not the same as missing")
}

// lying is an error whose methods panic.
type lying struct{}

func (lying) Error() string { panic("Error") }
func (lying) As(any) bool   { panic("As") }

func TestErrorsThatAreMistakesAreAnswered(t *testing.T) {
	var none *abstract.Error
	for name, err := range map[string]error{"a nil *Error": none, "one that panics": lying{}} {
		t.Run(name, func(t *testing.T) {
			r, log := newRouter()
			handle(t, r, "m", func(context.Context, map[string]any) (int, error) { return 1, err })
			rsp := call(r, "m", `{}`)
			assert.Equal(t, abstract.Internal, rsp.Code)
			assert.Equal(t, "the method failed", rsp.Message)
			assert.Empty(t, rsp.Result)
			assert.Contains(t, log.String(), "level=ERROR")
		})
	}
}

func TestMisfitLooksAtTheValueThatCounts(t *testing.T) {
	r, _ := newRouter()
	handle(t, r, "m", func(_ context.Context, in struct{ A, B uint8 }) (int, error) { return int(in.A), nil })
	rsp := call(r, "m", `{"A":300,"B":400,"A":1}`)
	assert.Equal(t, abstract.InvalidParams, rsp.Code)
	assert.NotContains(t, rsp.Message, "Go ")
}

func TestMethodsOfManyParametersAreChecked(t *testing.T) {
	d := router.Description{Method: "m", Result: message.Any}
	text := `{"x":0`
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
		d.Parameters = append(d.Parameters, router.Parameter{Name: name, Kind: message.Integer})
		text += `,"` + name + `":1`
	}
	require.NoError(t, d.CheckParameters(message.Raw(text+`}`)))
	require.ErrorContains(t, d.CheckParameters(message.Raw(text+`,"j":"x"}`)), `"j"`)
	var e *abstract.Error
	require.ErrorAs(t, d.CheckParameters(message.Raw(`{}`)), &e)
	assert.Contains(t, e.Message, `"a"`)
}

func TestAllocationsOfACall(t *testing.T) {
	r, _ := newRouter()
	handle(t, r, "Add", add)
	require.NoError(t, r.Add(router.Description{Method: "raw", Result: message.Object}, func(_ context.Context, params message.Raw) (any, error) { return params, nil }))
	for method, most := range map[string]float64{"raw": 1, "Add": 1} {
		req := &message.RpcRequest{Header: message.ID("7"), Method: method, Parameters: message.Raw(`{"num1":20,"num2":30}`)}
		ctx := context.Background()
		var a router.Answer
		allocs := testing.AllocsPerRun(100, func() { r.Call(ctx, req, &a) })
		t.Logf("%s: %v", method, allocs)
		assert.LessOrEqual(t, allocs, most, method)
	}
}
