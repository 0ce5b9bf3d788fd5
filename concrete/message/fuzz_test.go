package message_test

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// maxOracle keeps texts below the nesting that encoding/json gives up at.
const maxOracle = 9000

// FuzzMessage checks that scanning agrees with encoding/json: on what is an
// object, on the text of every member, and on the values we read from them.
func FuzzMessage(f *testing.F) {
	for body := range samples() {
		f.Add([]byte(body))
	}
	for _, body := range []string{
		"", "null", "[]", "{", "{}x", "\ufeff{}", `{"a":1,"a":2}`, `{"m\u0065thod":"a","Method":"b","parameters":{}}`,
		`{"method":"\ud83d\ude00\ud83d","parameters":{"a":[{"b":[[]]},-0.5e+10]},"timeout_ms":2.0}`,
		"{\"method\":\"a\xff\",\"parameters\":{}}", `{"optype":4e0,"topic_key":"\"","topic_msg":null}`,
		`{"optype":1,"rcode":0,"host":[{"ip":"h","port":1e2}]}`, `{"optype":0,"method":"a","host":{"ip":"h","port":20e-1}}`,
		`{"rcode":-9223372036854775808,"missed":9223372036854775807,"version":1.0E+2}`,
		`{"method":"a","parameters":{"x":1},"timeout_ms":17}`, `{"method":"a","parameters":{},"timeout_ms":1e2}`,
		`{"method":"a","parameters":{},"timeout_ms":017}`, `{"method":"a","parameters":{},"timeout_ms":99999999999999999}`,
		`{"rcode":0,"result":{"a":[1,2]}}`, `{"rcode":0,"result":1,"result":2}`, `{"rcode":0}`, `{"rcode":0,"result":}`,
		`{"optype":4,"topic_key":"news","topic_msg":"hi"}`, `{"optype":4,"topic_key":"n","topic_msg":1}}`,
		`{"optype":4,"topic_key":"n","topic_msg":1,"topic_key":"m"}`, `{"optype":4,"topic_key":"é","topic_msg":[]}`,
		`{"method":"a","parameters":{},"meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}`,
		`{"method":"a","parameters":{},"timeout_ms":5,"meta":{"a":"\u0041","a":"é"}}`, `{"method":"a","parameters":{},"meta":{"A":""}}`,
		`{"method":"a","parameters":{},"meta":{}}`, `{"method":"a","parameters":{},"meta":[]}`, `{"method":"a","parameters":{},"meta":{"a":1},"oneway":1}`,
		`{"method":"a","parameters":{},"oneway":1,"meta":{"b":"2","a":"1"},"relay":1}`, `{"optype":4,"topic_key":"n","topic_msg":1,"meta":{"a":"b"}}`,
		`{"optype":4,"topic_key":"n","topic_msg":1,"meta":{"a\u0062":"b"}}`, `{"optype":4,"topic_key":"n","topic_msg":1,"meta":null}`,
		`{"optype":2,"topic_key":"n","meta":7}`, `{"method":"a","parameters":{},"meta":{"` + strings.Repeat("a", 65) + `":""}}`,
		`{"method":"0123456789012345678901234567890123456789\"\\\u0041","parameters":{}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > maxOracle {
			return
		}
		var want map[string]json.RawMessage
		object := json.Unmarshal(body, &want) == nil && want != nil
		assert.Equal(t, json.Valid(body), message.Valid(body) == nil)

		got := make(map[string]message.Raw)
		err := message.Members(body, func(name string, value message.Raw) bool {
			got[name] = value
			return true
		})
		require.Equal(t, object, err == nil, err)
		for _, typ := range everyType {
			m, err := codec.Unmarshal(typ, "id", body, nil)
			require.Equal(t, object, err == nil, "%v: %v", typ, err)
			// A space before the body makes it unusual, and changes nothing else.
			unusual, err2 := codec.Unmarshal(typ, "id", append([]byte{' '}, body...), nil)
			require.Equal(t, err == nil, err2 == nil)
			if err == nil {
				if typ.Legacy() {
					require.Equal(t, unusual, m, "%s", body)
				}
				checkFields(t, m, want)
				checkWritten(t, m)
			}
		}
		if !object {
			return
		}
		require.Len(t, got, len(want))
		for name, value := range want {
			require.Equal(t, string(value), string(got[name]), name)
			checkKind(t, value)
		}
	})
}

// checkFields compares what a message says with what encoding/json reads.
func checkFields(t *testing.T, m abstract.BaseMessage, want map[string]json.RawMessage) {
	switch m := m.(type) {
	case *message.RpcRequest:
		if m.Check() == nil {
			require.Equal(t, stringOf(want["method"]), m.Method)
			require.Equal(t, string(want["parameters"]), string(m.Parameters))
			require.Equal(t, want["timeout_ms"] != nil && !isZero(want["timeout_ms"]), m.TimeoutMs != 0)
			checkMetadata(t, want["meta"], m.Meta)
		}
	case *message.RpcResponse:
		if m.Check() == nil {
			require.Equal(t, integerOf(want["rcode"]).String(), big.NewInt(int64(m.Code)).String())
			require.Equal(t, string(want["result"]), string(m.Result))
		}
	case *message.TopicRequest:
		if m.Check() == nil {
			require.Equal(t, integerOf(want["optype"]).String(), big.NewInt(int64(m.Op)).String())
			require.Equal(t, stringOf(want["topic_key"]), m.Topic)
			require.Equal(t, string(want["topic_msg"]), string(m.Message))
			if m.Op == abstract.TopicPublish {
				checkMetadata(t, want["meta"], m.Meta)
			}
		}
	case *message.ServiceRequest:
		if m.Check() == nil {
			require.Equal(t, stringOf(want["method"]), m.Method)
			require.Equal(t, stringOf(want["instance"]), m.Instance)
		}
	}
}

// checkMetadata compares the metadata of a message without a fault.
func checkMetadata(t *testing.T, want json.RawMessage, got abstract.Metadata) {
	require.NoError(t, got.Check())
	var values map[string]string
	if want != nil {
		require.NoError(t, json.Unmarshal(want, &values))
	}
	require.Len(t, got, len(values))
	for name, value := range values {
		require.Equal(t, value, got[name])
	}
}

// checkWritten checks that what we write of a message says what we read.
func checkWritten(t *testing.T, m abstract.BaseMessage) {
	if m.Check() != nil {
		return
	}
	text, err := codec.AppendBody(nil, m)
	require.NoError(t, err)
	require.NoError(t, message.Valid(text), "%s", text)
	back, err := codec.Unmarshal(m.Type(), "id", text, nil)
	require.NoError(t, err)
	require.NoError(t, back.Check(), "%s", text)
	again, err := codec.AppendBody(nil, back)
	require.NoError(t, err)
	require.Equal(t, string(text), string(again))
}

// checkKind compares KindOf with what encoding/json and exact arithmetic say.
func checkKind(t *testing.T, value json.RawMessage) {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var v any
	require.NoError(t, d.Decode(&v))
	want := map[bool]message.Kind{true: message.Integer, false: message.Number}
	switch v := v.(type) {
	case nil:
		require.Equal(t, message.Null, message.KindOf(value))
	case bool:
		require.Equal(t, message.Bool, message.KindOf(value))
	case string:
		require.Equal(t, message.String, message.KindOf(value))
	case []any:
		require.Equal(t, message.Array, message.KindOf(value))
	case map[string]any:
		require.Equal(t, message.Object, message.KindOf(value))
	case json.Number:
		if r := rational(v.String()); r != nil {
			require.Equal(t, want[r.IsInt()], message.KindOf(value), "%s", value)
		}
	}
}

// rational is nil for numbers with exponents that arithmetic would choke on.
func rational(number string) *big.Rat {
	if _, exponent, ok := strings.Cut(strings.ToLower(number), "e"); ok && len(strings.TrimLeft(exponent, "+-0")) > 3 {
		return nil
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return nil
	}
	return r
}

func isZero(number json.RawMessage) bool {
	mantissa, _, _ := strings.Cut(strings.ToLower(string(number)), "e")
	return strings.Trim(mantissa, "-0.") == ""
}

func integerOf(number json.RawMessage) *big.Int {
	if isZero(number) {
		return new(big.Int)
	}
	r := rational(string(number))
	if r == nil || !r.IsInt() {
		return nil
	}
	return r.Num()
}

func stringOf(text json.RawMessage) (s string) {
	if text != nil && json.Unmarshal(text, &s) != nil {
		return "no string: " + string(text)
	}
	return s
}
