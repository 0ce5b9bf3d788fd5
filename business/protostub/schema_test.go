package protostub_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"trefoil/abstract"
	"trefoil/business/protostub"
	"trefoil/business/protostub/internal/everything"
	"trefoil/business/protostub/internal/numbers"
	"trefoil/concrete/schema"
)

// described is what a server says of one of its methods.
func described(t *testing.T, w *world, method string) abstract.MethodInfo {
	t.Helper()
	var info abstract.MethodInfo
	require.NoError(t, w.rpc.Call(t.Context(), abstract.DescribeMethod, map[string]string{"method": method}, &info))
	return info
}

func TestMethodsAreDescribed(t *testing.T) {
	w := newWorld(t)
	info := described(t, w, "test.everything.Everything.When")
	assert.Equal(t, "test.everything.Everything.When(name string?, size string?, around object?) string", info.Signature)
	assert.JSONEq(t, `{"type":"object","properties":{"name":{"type":"string"},"size":{"type":"string","enum":["SMALL","LARGE"]},"around":{"$ref":"#/$defs/test.everything.Nested"}},
		"$defs":{
			"test.everything.Nested":{"type":"object","properties":{"inner":{"$ref":"#/$defs/test.everything.Nested.Inner"},"children":{"type":"array","items":{"$ref":"#/$defs/test.everything.Nested"}},"place":{"$ref":"#/$defs/test.common.Place"},"level":{"type":"string","enum":["LEVEL_NONE","LEVEL_LOW","LEVEL_HIGH"]}}},
			"test.everything.Nested.Inner":{"type":"object","properties":{"name":{"type":"string"},"size":{"type":"string","enum":["SMALL","LARGE"]},"around":{"$ref":"#/$defs/test.everything.Nested"}}},
			"test.common.Place":{"type":"object","properties":{"city":{"type":"string"},"zipCode":{"type":"string"}}}}}`, string(info.Parameters))
	assert.JSONEq(t, `{"type":"string","format":"date-time"}`, string(info.Result))

	info = described(t, w, "test.everything.Everything.Echo")
	assert.Equal(t, "Echo returns what it gets, in two lines.", info.Doc)
	assert.True(t, info.Idempotent)
	info = described(t, w, "test.everything.Everything.Up")
	assert.Equal(t, "client stream", info.Kind)
	assert.Contains(t, string(info.Parameters), `"int64":{"type":["string","integer"]`)
	info = described(t, w, "short.Numbers.Add")
	assert.Contains(t, string(info.Parameters), `"total":{"type":"integer"}`)
	info = described(t, w, "test.old.Orders.Place")
	assert.Contains(t, string(info.Parameters), `"required":["id"]`)
}

// TestWhatIsWrittenFitsItsSchema checks messages as they are written against what their
// methods say.
func TestWhatIsWrittenFitsItsSchema(t *testing.T) {
	w := newWorld(t)
	for method, m := range map[string]proto.Message{
		"test.everything.Everything.Echo": &everything.All{}, "test.everything.Second.Echo": &everything.Names{}, "short.Numbers.Add": &numbers.Sum{},
	} {
		s, err := schema.Parse(described(t, w, method).Parameters)
		require.NoError(t, err, method)
		rapid.Check(t, func(t *rapid.T) {
			in := m.ProtoReflect().New()
			fillPlain(t, in)
			text, err := protostub.Marshal(in.Interface())
			require.NoError(t, err)
			if method == "short.Numbers.Add" {
				text = json.RawMessage(`{"total":9007199254740993,"parts":[1],"by":{"2":3}}`)
			}
			require.NoError(t, s.Check(method, text), "%s", text)
		})
	}
}
