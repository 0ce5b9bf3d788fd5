package protostub_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"pgregory.net/rapid"

	"trefoil"
	"trefoil/abstract"
	"trefoil/business/protostub/internal/common"
	"trefoil/business/protostub/internal/everything"
	"trefoil/business/protostub/internal/keywords"
	"trefoil/business/protostub/internal/numbers"
	"trefoil/business/protostub/internal/old"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// everythingServer gives back what it gets.
type everythingServer struct {
	everything.UnimplementedEverythingServer
}

func (everythingServer) Echo(_ context.Context, in *everything.All) (*everything.All, error) {
	return in, nil
}

func (everythingServer) Nothing(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	return nil, nil
}

func (everythingServer) Facts(_ context.Context, in *structpb.Struct) (*structpb.ListValue, error) {
	return &structpb.ListValue{Values: []*structpb.Value{structpb.NewStructValue(in)}}, nil
}

func (everythingServer) When(_ context.Context, in *everything.Nested_Inner) (*timestamppb.Timestamp, error) {
	if in.GetName() == "" {
		return nil, abstract.Errorf(abstract.NotFound, "nobody knows when")
	}
	return &timestamppb.Timestamp{Seconds: 5}, nil
}

func (everythingServer) Down(_ context.Context, in *everything.Scalars, send func(*everything.Scalars) error) error {
	for i := range in.GetInt32() {
		if err := send(&everything.Scalars{Int32: i}); err != nil {
			return err
		}
	}
	if in.GetBool() {
		return abstract.Errorf(abstract.Conflict, "there is no more")
	}
	return nil
}

func (everythingServer) Up(_ context.Context, in iter.Seq2[*everything.Scalars, error]) (*everything.Scalars, error) {
	sum := &everything.Scalars{}
	for m, err := range in {
		if err != nil {
			return nil, err
		}
		sum.Int64 += m.GetInt64()
	}
	return sum, nil
}

func (everythingServer) Both(_ context.Context, in iter.Seq2[*everything.Choice, error], send func(*everything.Choice) error) error {
	for m, err := range in {
		if err != nil {
			return err
		}
		if err := send(m); err != nil {
			return err
		}
	}
	return nil
}

func (everythingServer) Words(_ context.Context, in iter.Seq2[*wrapperspb.StringValue, error], send func(*structpb.Value) error) error {
	for m, err := range in {
		if err != nil {
			return err
		}
		if err := send(structpb.NewStringValue(m.GetValue())); err != nil {
			return err
		}
	}
	return send(structpb.NewNullValue())
}

type secondServer struct{}

func (secondServer) Echo(_ context.Context, in *everything.Names) (*everything.Names, error) {
	return in, nil
}

type ordersServer struct{ old.UnimplementedOrdersServer }

func (ordersServer) Place(_ context.Context, in *old.Order) (*old.Order, error) { return in, nil }

type keywordsServer struct {
	keywords.UnimplementedInterfaceServer
}

func (keywordsServer) Func(_ context.Context, in *keywords.Type) (*keywords.Type, error) {
	return in, nil
}

func (keywordsServer) Ctx(_ context.Context, in *keywords.TypeChan) (*keywords.TypeChan, error) {
	return in, nil
}

type numbersServer struct{}

func (numbersServer) Add(_ context.Context, in *numbers.Sum) (*numbers.Sum, error) {
	sum := proto.CloneOf(in)
	for _, p := range in.GetParts() {
		sum.Total += int64(p)
	}
	return sum, nil
}

// world is a server with everything generated, and a client of it.
type world struct {
	srv *server.RpcServer
	rpc *client.RpcClient
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return serve(t, func(srv *server.RpcServer) error {
		return errors.Join(
			everything.RegisterEverything(srv, everythingServer{}),
			everything.RegisterSecond(srv, secondServer{}),
			everything.RegisterIdle(srv, everything.UnimplementedIdleServer{}),
			old.RegisterOrders(srv, ordersServer{}),
			keywords.RegisterInterface(srv, keywordsServer{}),
			numbers.RegisterNumbers(srv, numbersServer{}),
		)
	})
}

// serve makes a world with the methods that add adds.
func serve(t *testing.T, add func(*server.RpcServer) error) *world {
	t.Helper()
	network := mem.NewNetwork()
	quiet := slog.New(slog.DiscardHandler)
	srv := server.NewRpcServer("provider:1", server.WithTransport(network.Server), server.WithLogger(quiet))
	require.NoError(t, add(srv))
	require.NoError(t, srv.Listen())
	served := make(chan error, 1)
	go func() { served <- srv.Serve() }()
	rpc, err := client.DialRpc(t.Context(), "provider:1", client.WithTransport(network.Client), client.WithLogger(quiet), client.WithTimeout(time.Minute))
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, rpc.Close())
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		assert.NoError(t, srv.Shutdown(ctx))
		assert.NoError(t, <-served)
	})
	return &world{srv, rpc}
}

func TestStubCallsServer(t *testing.T) {
	w := newWorld(t)
	stub := everything.NewEverythingClient(w.rpc)
	rapid.Check(t, func(r *rapid.T) {
		in := &everything.All{}
		fill(r, in.ProtoReflect(), 3)
		out, err := stub.Echo(t.Context(), in)
		require.NoError(r, err)
		require.True(r, proto.Equal(in, out), "%v\n%v", in, out)
	})
}

func TestStubsOfEveryService(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	e := everything.NewEverythingClient(w.rpc)

	nothing, err := e.Nothing(ctx, &emptypb.Empty{})
	require.NoError(t, err)
	assert.NotNil(t, nothing)
	facts, err := structpb.NewStruct(map[string]any{"a": []any{1.0, nil}})
	require.NoError(t, err)
	list, err := e.Facts(ctx, facts)
	require.NoError(t, err)
	assert.True(t, proto.Equal(facts, list.GetValues()[0].GetStructValue()))
	when, err := e.When(ctx, &everything.Nested_Inner{Name: "x"})
	require.NoError(t, err)
	assert.Equal(t, int64(5), when.GetSeconds())

	names, err := everything.NewSecondClient(w.rpc).Echo(ctx, &everything.Names{SwapMe: "1", SwapMe2: "2", Type: "t"})
	require.NoError(t, err)
	assert.True(t, proto.Equal(&everything.Names{SwapMe: "1", SwapMe2: "2", Type: "t"}, names))
	order, err := old.NewOrdersClient(w.rpc).Place(ctx, &old.Order{Id: proto.String("7")})
	require.NoError(t, err)
	assert.True(t, proto.Equal(&old.Order{Id: proto.String("7")}, order))
	word, err := keywords.NewInterfaceClient(w.rpc).Func(ctx, &keywords.Type{Range: &keywords.TypeChan{If: true}})
	require.NoError(t, err)
	assert.True(t, word.GetRange().GetIf())
	sum, err := numbers.NewNumbersClient(w.rpc).Add(ctx, &numbers.Sum{Parts: []uint64{1, 2}})
	require.NoError(t, err)
	assert.Equal(t, int64(3), sum.GetTotal())
}

func TestErrorsOfCalls(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	e := everything.NewEverythingClient(w.rpc)

	_, err := e.When(ctx, &everything.Nested_Inner{})
	require.ErrorIs(t, err, abstract.ErrNotFound)
	assert.ErrorContains(t, err, "nobody knows when")
	_, err = e.Where(ctx, &common.Place{})
	require.ErrorIs(t, err, abstract.ErrMethodNotFound)
	assert.ErrorContains(t, err, `method "test.everything.Everything.Where" is not implemented here`)
	o := old.NewOrdersClient(w.rpc)
	_, err = o.Place(ctx, &old.Order{})
	require.ErrorIs(t, err, abstract.ErrInvalidParams, "it is not sent")
	for _, call := range []func() error{
		func() error {
			_, err := old.Orders_Place.CallFuture(ctx, w.rpc, &old.Order{}).Wait(ctx)
			return err
		},
		func() error {
			f := old.Orders_Place.CallFuture(ctx, w.rpc, &old.Order{})
			<-f.Done()
			f.Cancel()
			_, err := f.Wait(ctx)
			return err
		},
		func() error {
			done := make(chan error)
			old.Orders_Place.CallFunc(ctx, w.rpc, &old.Order{}, func(_ *old.Order, err error) { done <- err })
			return <-done
		},
		func() error { return old.Orders_Place.Send(ctx, w.rpc, &old.Order{}) },
		func() (last error) {
			for _, err := range old.Orders_Place.All(ctx, w.rpc, &old.Order{}) {
				last = err
			}
			return last
		},
	} {
		assert.ErrorIs(t, call(), abstract.ErrInvalidParams)
	}
}

// TestWrongKindsAreAnswered calls a generated server as somebody does who has no stub.
func TestWrongKindsAreAnswered(t *testing.T) {
	w := newWorld(t)
	tests := []struct{ params, want string }{
		{`{"scalars":{"int32":"x"}}`, `parameter "scalars.int32" of test.everything.Everything.Echo must be integer, not string`},
		{`{"nested":{"children":[{"place":{"city":1}}]}}`, `parameter "nested.children[0].place.city" of test.everything.Everything.Echo must be string, not integer`},
		{`{"maps":{"byInt":{"1":"yes"}}}`, `parameter "maps.byInt.1" of test.everything.Everything.Echo must be bool, not string`},
		{`{"choice":true}`, `parameter "choice" of test.everything.Everything.Echo must be object, not bool`},
	}
	for _, tt := range tests {
		err := w.rpc.Call(t.Context(), "test.everything.Everything.Echo", json.RawMessage(tt.params), nil)
		var e *abstract.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, abstract.InvalidParams, e.Code)
		assert.Equal(t, tt.want, e.Message)
		assert.True(t, e.FromPeer)
	}
}

// place is what common.Place is to a typed method.
type place struct {
	City    string `json:"city"`
	ZipCode string `json:"zipCode"`
}

type placesServer struct {
	everything.UnimplementedEverythingServer
}

func (placesServer) Where(_ context.Context, in *common.Place) (*common.Place, error) {
	return &common.Place{City: in.GetCity() + "!", ZipCode: in.GetZipCode()}, nil
}

// TestAllKindsOfCallersAndServersWorkTogether has a stub, a typed method and an untyped
// call of one service at either side.
func TestAllKindsOfCallersAndServersWorkTogether(t *testing.T) {
	const name = "test.everything.Everything.Where"
	typed := trefoil.NewMethod[place, place](name)
	servers := map[string]func(*server.RpcServer) error{
		"stub": func(srv *server.RpcServer) error {
			return srv.ServeMethod(everything.Everything_Where.Served(placesServer{}.Where))
		},
		"typed": func(srv *server.RpcServer) error {
			return typed.Handle(srv, func(_ context.Context, in place) (place, error) { return place{in.City + "!", in.ZipCode}, nil })
		},
		"untyped": func(srv *server.RpcServer) error {
			return srv.HandleFunc(server.Description{Method: name, Result: server.KindObject}, func(_ context.Context, params json.RawMessage) (any, error) {
				var in map[string]string
				err := json.Unmarshal(params, &in)
				return map[string]string{"city": in["city"] + "!", "zip_code": in["zipCode"]}, err
			})
		},
	}
	callers := map[string]func(context.Context, abstract.Caller, string) (string, error){
		"stub": func(ctx context.Context, c abstract.Caller, city string) (string, error) {
			out, err := everything.NewEverythingClient(c).Where(ctx, &common.Place{City: city})
			return out.GetCity(), err
		},
		"typed": func(ctx context.Context, c abstract.Caller, city string) (string, error) {
			out, err := typed.Call(ctx, c, place{City: city})
			return out.City, err
		},
		"untyped": func(ctx context.Context, c abstract.Caller, city string) (string, error) {
			out := map[string]string{}
			err := c.Call(ctx, name, map[string]string{"city": city, "zipCode": ""}, &out)
			return out["city"], err
		},
	}
	for at, add := range servers {
		for from, call := range callers {
			t.Run(from+" calls "+at, func(t *testing.T) {
				got, err := call(t.Context(), serve(t, add).rpc, "Bern")
				require.NoError(t, err)
				assert.Equal(t, "Bern!", got)
			})
		}
	}
}

func TestEveryWayToCall(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	m, in := everything.Second_Echo, &everything.Names{Type: "t"}
	assert.Equal(t, "test.everything.Second.Echo", m.Name())

	f := m.CallFuture(ctx, w.rpc, in)
	<-f.Done()
	for range 2 {
		out, err := f.Wait(ctx)
		require.NoError(t, err)
		assert.True(t, proto.Equal(in, out))
	}
	done := make(chan *everything.Names)
	m.CallFunc(ctx, w.rpc, in, func(out *everything.Names, err error) {
		assert.NoError(t, err)
		done <- out
	})
	assert.True(t, proto.Equal(in, <-done))
	answers := 0
	for a, err := range m.All(ctx, w.rpc, in) {
		require.NoError(t, err)
		assert.Equal(t, "provider:1", a.From)
		assert.True(t, proto.Equal(in, a.Value))
		answers++
	}
	assert.Equal(t, 1, answers)

	ended, cancel := context.WithCancel(ctx)
	cancel()
	f = m.CallFuture(ended, w.rpc, in)
	_, err := f.Wait(ctx)
	require.ErrorIs(t, err, abstract.ErrCancelled)
}

func TestSentCallReachesTheServer(t *testing.T) {
	got := make(chan *common.Place, 1)
	w := serve(t, func(srv *server.RpcServer) error {
		return srv.ServeMethod(everything.Everything_Where.Served(func(_ context.Context, in *common.Place) (*common.Place, error) {
			got <- in
			return in, nil
		}))
	})
	require.NoError(t, everything.Everything_Where.Send(t.Context(), w.rpc, &common.Place{City: "Bern"}))
	assert.Equal(t, "Bern", (<-got).GetCity())
}

// TestResultThatDoesNotFitIsNamed has a server that is of another opinion.
func TestResultThatDoesNotFitIsNamed(t *testing.T) {
	w := serve(t, func(srv *server.RpcServer) error {
		return srv.HandleFunc(server.Description{Method: "test.everything.Everything.Where", Result: server.KindAny}, func(context.Context, json.RawMessage) (any, error) {
			return json.RawMessage(`{"zipCode":3000}`), nil
		})
	})
	_, err := everything.NewEverythingClient(w.rpc).Where(t.Context(), &common.Place{})
	require.ErrorIs(t, err, abstract.ErrInvalidMessage)
	assert.ErrorContains(t, err, `field "zipCode" of the result must be string, not integer`)
	_, err = everything.Everything_Where.CallFuture(t.Context(), w.rpc, &common.Place{}).Wait(t.Context())
	require.ErrorIs(t, err, abstract.ErrInvalidMessage)
}

// TestNumbersAreWrittenWhenAskedFor looks at the text on the way.
func TestNumbersAreWrittenWhenAskedFor(t *testing.T) {
	w := newWorld(t)
	assert.Equal(t, "short.Numbers.Add", numbers.Numbers_Add.Name())
	var result json.RawMessage
	require.NoError(t, w.rpc.Call(t.Context(), "short.Numbers.Add", map[string]any{"parts": []any{"18446744073709551615", 2}}, &result))
	assert.JSONEq(t, `{"total":1,"parts":[18446744073709551615,2],"by":{}}`, string(result))
	var exact struct{ Parts []uint64 }
	require.NoError(t, json.Unmarshal(result, &exact))
	assert.Equal(t, []uint64{18446744073709551615, 2}, exact.Parts)
}

func TestMethodsSayWhatTheyAre(t *testing.T) {
	s := everything.EverythingDesc(everythingServer{})
	assert.Equal(t, "test.everything.Everything", s.Name)
	kinds := map[string]abstract.MethodKind{}
	for _, m := range s.Methods {
		kinds[m.Name] = m.Kind
	}
	assert.Equal(t, map[string]abstract.MethodKind{
		"test.everything.Everything.Echo": abstract.Unary, "test.everything.Everything.Nothing": abstract.Unary,
		"test.everything.Everything.Facts": abstract.Unary, "test.everything.Everything.When": abstract.Unary,
		"test.everything.Everything.Where": abstract.Unary, "test.everything.Everything.Down": abstract.ServerStream,
		"test.everything.Everything.Up": abstract.ClientStream, "test.everything.Everything.Both": abstract.BidiStream,
		"test.everything.Everything.Words": abstract.BidiStream,
	}, kinds)
	assert.True(t, s.Methods[0].Idempotent)
	assert.False(t, s.Methods[1].Idempotent)
	assert.Equal(t, "Echo returns what it gets, in two lines.", s.Methods[0].Doc)
}

func TestServiceIsRegisteredOnce(t *testing.T) {
	w := newWorld(t)
	err := everything.RegisterSecond(w.srv, secondServer{})
	require.ErrorIs(t, err, abstract.ErrExists)
	assert.ErrorContains(t, err, "serve test.everything.Second.Echo")
}
