package message_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

var codec = message.New(message.Config{})

// everyType lists the known message types and one that is not.
var everyType = []abstract.MType{
	abstract.ReqRPC, abstract.RspRPC, abstract.ReqTopic, abstract.RspTopic, abstract.ReqService, abstract.RspService,
	abstract.ReqHello, abstract.RspHello, abstract.Ping, abstract.Pong, abstract.Goodbye, abstract.RspUnsupported, abstract.Gap,
	abstract.ReqNode, abstract.RspNode, abstract.NodeEvent, 99,
}

func read(t *testing.T, typ abstract.MType, body string) abstract.BaseMessage {
	t.Helper()
	m, err := codec.Unmarshal(typ, "id", []byte(body), nil)
	require.NoError(t, err)
	require.Equal(t, typ, m.Type())
	require.Equal(t, "id", m.ID())
	return m
}

// TestWhatIsNoObjectIsABadStream: nothing but one JSON object is answered.
func TestWhatIsNoObjectIsABadStream(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":                    "",
		"space only":                 " \n",
		"null":                       "null",
		"number":                     "5",
		"array":                      "[]",
		"string":                     `"{}"`,
		"byte-order mark":            "\ufeff{}",
		"comment":                    `{/* why */"method":"a"}`,
		"comment after":              "{} // why",
		"text after":                 "{} x",
		"second object":              "{}{}",
		"unclosed":                   `{"a":1`,
		"unclosed string":            `{"a":"1`,
		"unclosed array":             `{"a":[1}`,
		"closed twice":               "{}}",
		"trailing comma":             `{"a":1,}`,
		"trailing comma in array":    `{"a":[1,]}`,
		"no comma":                   `{"a":1 "b":2}`,
		"no colon":                   `{"a" 1}`,
		"no value":                   `{"a":}`,
		"name without quotes":        `{a:1}`,
		"single quotes":              `{'a':1}`,
		"leading zero":               `{"a":01}`,
		"plus":                       `{"a":+1}`,
		"point first":                `{"a":.5}`,
		"point last":                 `{"a":5.}`,
		"empty exponent":             `{"a":1e}`,
		"minus alone":                `{"a":-}`,
		"hexadecimal":                `{"a":0x10}`,
		"NaN":                        `{"a":NaN}`,
		"capital True":               `{"a":True}`,
		"half a word":                `{"a":nul}`,
		"control character":          "{\"a\":\"long enough for words\x01and more\"}",
		"newline in a string":        "{\"a\":\"\n\"}",
		"bad escape":                 `{"a":"\x41"}`,
		"short unicode escape":       `{"a":"\u12"}`,
		"bad unicode escape":         `{"a":"\u12g4"}`,
		"escape at the end":          `{"a":"\`,
		"bad value in unknown place": `{"method":"a","parameters":{},"other":{"x":[1,{"y":tru}]}}`,
		"NUL after":                  "{}\x00",
		"form feed as space":         "{\f}",
	} {
		t.Run(name, func(t *testing.T) {
			for _, typ := range everyType {
				m, err := codec.Unmarshal(typ, "1", []byte(body), nil)
				assert.Nil(t, m, typ)
				assert.Equal(t, abstract.ParseFailed, abstract.CodeOf(err), typ)
			}
		})
	}
}

func TestObjectsOfAnyLayoutAreTaken(t *testing.T) {
	for name, body := range map[string]string{
		"space everywhere":      " \t\r\n{ \"method\" :\t\"math.add\" ,\n\"parameters\" : { \"a\" : [ 1 , 2 ] } } \n",
		"other order":           `{"parameters":{"a":[1,2]},"method":"math.add"}`,
		"unknown members":       `{"x":null,"method":"math.add","trace":{"id":[[[{}]]]},"parameters":{}}`,
		"escaped name":          `{"m\u0065thod":"math.add","parameters":{}}`,
		"escaped value":         `{"method":"math\u002eadd","parameters":{}}`,
		"last of several":       `{"method":5,"method":"math.add","parameters":[],"parameters":{}}`,
		"name of another case":  `{"method":"math.add","Method":"other","METHOD":1,"parameters":{},"Parameters":5}`,
		"no UTF-8 elsewhere":    "{\"method\":\"math.add\",\"parameters\":{\"\xff\":\"\xc3(\"}}",
		"a name that is long":   `{"method":"math.add","parameters":{},"` + strings.Repeat(`\u0061`, 1000) + `":1}`,
		"all kinds of numbers":  `{"method":"math.add","parameters":{"a":[0,-0,1.5,1e9,1E-9,-12.25e+3]}}`,
		"all kinds of escapes":  `{"method":"math.add","parameters":{"\"\\\/\b\f\n\r\t\u00e9":"\ud83d\ude00"}}`,
		"brackets of each kind": `{"method":"math.add","parameters":{"a":{"b":1},"c":[1,{"d":2},[3,4],{"e":[]}],"f":{"g":[[5]],"h":6}}}`,
		"words":                 `{"method":"math.add","parameters":{"a":true,"b":false,"c":null,"d":[],"e":{}}}`,
		"a quote in a long one": `{"method":"math.add","parameters":{"a":"0123456789012345678901234567890\"12345678901234567890123"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			m := read(t, abstract.ReqRPC, body).(*message.RpcRequest)
			require.NoError(t, m.Check())
			assert.Equal(t, "math.add", m.Method)
			assert.NoError(t, message.Valid(m.Parameters))
		})
	}
}

func TestStringsAreUnescapedAsEncodingJSONDoes(t *testing.T) {
	for text, want := range map[string]string{
		`plain`:              "plain",
		`\"\\\/\b\f\n\r\t`:   "\"\\/\b\f\n\r\t",
		`h\u00e9llo`:         "héllo",
		`héllo`:              "héllo",
		`\ud83d\ude00`:       "😀",
		`\ud83d`:             "\ufffd",
		`\ude00x`:            "\ufffdx",
		`\ud83d\ud83d\ude00`: "\ufffd😀",
		`\ud83d\n`:           "\ufffd\n",
		"a\xffb":             "a\ufffdb",
		"\xed\xa0\x80":       "\ufffd\ufffd\ufffd",
		`\u0000`:             "\x00",
	} {
		m := read(t, abstract.ReqTopic, `{"optype":0,"topic_key":"`+text+`"}`).(*message.TopicRequest)
		assert.NoError(t, m.Check(), text)
		assert.Equal(t, want, m.Topic, text)
	}
}

// TestCheckTellsTheFirstThingThatIsWrong holds the codes that odd requests are
// answered with.
func TestCheckTellsTheFirstThingThatIsWrong(t *testing.T) {
	const (
		call = `{"method":"a","parameters":{}`
		host = `"host":{"ip":"10.0.0.1","port":80}`
		fine = abstract.OK // nothing is wrong
	)
	long := strings.Repeat("m", 257)
	for _, c := range []struct {
		name string
		typ  abstract.MType
		body string
		code abstract.RCode
		text string // in the message
	}{
		{"call", abstract.ReqRPC, call + `}`, fine, ""},
		{"call of an empty method", abstract.ReqRPC, `{"method":"","parameters":{}}`, fine, ""},
		{"call without method", abstract.ReqRPC, `{"parameters":{}}`, abstract.ServiceNotFound, "method"},
		{"call without anything", abstract.ReqRPC, `{}`, abstract.ServiceNotFound, "method"},
		{"method a number", abstract.ReqRPC, `{"method":5,"parameters":{}}`, abstract.ServiceNotFound, "method"},
		{"method an object", abstract.ReqRPC, `{"method":{},"parameters":{}}`, abstract.ServiceNotFound, "method"},
		{"method too long", abstract.ReqRPC, `{"method":"` + long + `","parameters":{}}`, abstract.InvalidMessage, "longer than 256"},
		{"method as long as may be", abstract.ReqRPC, `{"method":"` + long[1:] + `","parameters":{}}`, fine, ""},
		{"method escaped, as long as may be", abstract.ReqRPC, `{"method":"` + strings.Repeat(`\u0061`, 256) + `","parameters":{}}`, fine, ""},
		{"method escaped, too long", abstract.ReqRPC, `{"method":"` + strings.Repeat(`\u0061`, 257) + `","parameters":{}}`, abstract.InvalidMessage, "longer"},
		{"no parameters", abstract.ReqRPC, `{"method":"a"}`, abstract.InvalidParams, "parameters"},
		{"parameters null", abstract.ReqRPC, `{"method":"a","parameters":null}`, abstract.InvalidParams, "parameters"},
		{"parameters an array", abstract.ReqRPC, `{"method":"a","parameters":[]}`, abstract.InvalidParams, "parameters"},
		{"parameters a string", abstract.ReqRPC, `{"method":"a","parameters":"{}"}`, abstract.InvalidParams, "parameters"},
		{"timeout 2.0", abstract.ReqRPC, call + `,"timeout_ms":2.0}`, fine, ""},
		{"timeout negative", abstract.ReqRPC, call + `,"timeout_ms":-1}`, abstract.InvalidMessage, "timeout_ms"},
		{"timeout 2.5", abstract.ReqRPC, call + `,"timeout_ms":2.5}`, abstract.InvalidMessage, "timeout_ms"},
		{"timeout a string", abstract.ReqRPC, call + `,"timeout_ms":"5"}`, abstract.InvalidMessage, "timeout_ms"},
		{"timeout null", abstract.ReqRPC, call + `,"timeout_ms":null}`, abstract.InvalidMessage, "timeout_ms"},
		{"timeout above 64 bits", abstract.ReqRPC, call + `,"timeout_ms":9223372036854775808}`, abstract.InvalidMessage, "timeout_ms"},

		{"create", abstract.ReqTopic, `{"optype":0,"topic_key":"news"}`, fine, ""},
		{"empty topic", abstract.ReqTopic, `{"optype":0,"topic_key":""}`, fine, ""},
		{"topic without optype", abstract.ReqTopic, `{"topic_key":"news"}`, abstract.InvalidOp, "optype"},
		{"topic optype a string", abstract.ReqTopic, `{"optype":"0","topic_key":"news"}`, abstract.InvalidOp, "optype"},
		{"topic optype 0.0", abstract.ReqTopic, `{"optype":0.0,"topic_key":"news"}`, fine, ""},
		{"topic optype 0.5", abstract.ReqTopic, `{"optype":0.5,"topic_key":"news"}`, abstract.InvalidOp, "optype"},
		{"topic optype 5", abstract.ReqTopic, `{"optype":5,"topic_key":"news"}`, abstract.InvalidOp, "optype"},
		{"topic optype -1", abstract.ReqTopic, `{"optype":-1,"topic_key":"news"}`, abstract.InvalidOp, "optype"},
		{"topic optype above 32 bits", abstract.ReqTopic, `{"optype":4294967296,"topic_key":"news"}`, abstract.InvalidOp, "optype"},
		{"no topic_key", abstract.ReqTopic, `{"optype":0}`, abstract.InvalidMessage, "topic_key"},
		{"topic_key a number", abstract.ReqTopic, `{"optype":0,"topic_key":1}`, abstract.InvalidMessage, "topic_key"},
		{"topic_key null", abstract.ReqTopic, `{"optype":0,"topic_key":null}`, abstract.InvalidMessage, "topic_key"},
		{"topic_key too long", abstract.ReqTopic, `{"optype":0,"topic_key":"` + strings.Repeat("t", 1025) + `"}`, abstract.InvalidMessage, "longer than 1024"},
		{"publish", abstract.ReqTopic, `{"optype":4,"topic_key":"news","topic_msg":{"a":1}}`, fine, ""},
		{"publish null", abstract.ReqTopic, `{"optype":4,"topic_key":"news","topic_msg":null}`, fine, ""},
		{"publish nothing", abstract.ReqTopic, `{"optype":4,"topic_key":"news"}`, abstract.InvalidMessage, "topic_msg"},
		{"optype before topic_key", abstract.ReqTopic, `{"optype":9}`, abstract.InvalidOp, "optype"},

		{"register", abstract.ReqService, `{"optype":0,"method":"a",` + host + `}`, fine, ""},
		{"register at port 80.0", abstract.ReqService, `{"optype":0,"method":"a","host":{"ip":"h","port":80.0}}`, fine, ""},
		{"register at port 8e1", abstract.ReqService, `{"optype":0,"method":"a","host":{"ip":"h","port":8e1}}`, fine, ""},
		{"register at port 65535", abstract.ReqService, `{"optype":0,"method":"a","host":{"ip":"h","port":65535}}`, fine, ""},
		{"register without optype", abstract.ReqService, `{"method":"a",` + host + `}`, abstract.InvalidOp, "optype"},
		{"register optype a string", abstract.ReqService, `{"optype":"0","method":"a",` + host + `}`, abstract.InvalidOp, "optype"},
		{"service optype 4", abstract.ReqService, `{"optype":4,"method":"a",` + host + `}`, abstract.InvalidOp, "optype"},
		{"service optype -1", abstract.ReqService, `{"optype":-1,"method":"a",` + host + `}`, abstract.InvalidOp, "optype"},
		{"register without method", abstract.ReqService, `{"optype":0,` + host + `}`, abstract.InvalidMessage, "method"},
		{"register an empty method", abstract.ReqService, `{"optype":0,"method":"",` + host + `}`, abstract.InvalidMessage, "method"},
		{"register, method a number", abstract.ReqService, `{"optype":0,"method":1,` + host + `}`, abstract.InvalidMessage, "method"},
		{"register, method too long", abstract.ReqService, `{"optype":0,"method":"` + long + `",` + host + `}`, abstract.InvalidMessage, "longer"},
		{"register without host", abstract.ReqService, `{"optype":0,"method":"a"}`, abstract.InvalidMessage, "host"},
		{"register, host a string", abstract.ReqService, `{"optype":0,"method":"a","host":"h:80"}`, abstract.InvalidMessage, "host"},
		{"register, host an array", abstract.ReqService, `{"optype":0,"method":"a","host":[]}`, abstract.InvalidMessage, "host"},
		{"register without ip", abstract.ReqService, `{"optype":0,"method":"a","host":{"port":80}}`, abstract.InvalidMessage, "ip"},
		{"register, ip empty", abstract.ReqService, `{"optype":0,"method":"a","host":{"ip":"","port":80}}`, abstract.InvalidMessage, "ip"},
		{"register, ip too long", abstract.ReqService, `{"optype":0,"method":"a","host":{"ip":"` + long + `","port":80}}`, abstract.InvalidMessage, "ip"},
		{"register without port", abstract.ReqService, `{"optype":0,"method":"a","host":{"ip":"h"}}`, abstract.InvalidMessage, "port"},
		{"register, port a string", abstract.ReqService, `{"optype":0,"method":"a","host":{"ip":"h","port":"80"}}`, abstract.InvalidMessage, "port"},
		{"register, port 0", abstract.ReqService, `{"optype":0,"method":"a","host":{"ip":"h","port":0}}`, abstract.InvalidMessage, "port"},
		{"register, port 70000", abstract.ReqService, `{"optype":0,"method":"a","host":{"ip":"h","port":70000}}`, abstract.InvalidMessage, "port"},
		{"register, port negative", abstract.ReqService, `{"optype":0,"method":"a","host":{"ip":"h","port":-1}}`, abstract.InvalidMessage, "port"},
		{"register, port 80.5", abstract.ReqService, `{"optype":0,"method":"a","host":{"ip":"h","port":80.5}}`, abstract.InvalidMessage, "port"},
		{"register, instance a number", abstract.ReqService, `{"optype":0,"method":"a","instance":1,` + host + `}`, abstract.InvalidMessage, "instance"},
		{"online without host", abstract.ReqService, `{"optype":2,"method":"a"}`, abstract.InvalidMessage, "host"},
		{"unregister without host", abstract.ReqService, `{"optype":3,"method":"a"}`, abstract.InvalidMessage, "host"},
		{"discover", abstract.ReqService, `{"optype":1,"method":"a"}`, fine, ""},
		{"discover, empty host", abstract.ReqService, `{"optype":1,"method":"a","host":{"ip":"","port":0}}`, fine, ""},
		{"discover, host that is none", abstract.ReqService, `{"optype":1,"method":"a","host":"nowhere"}`, fine, ""},

		{"response", abstract.RspRPC, `{"rcode":0,"result":1}`, fine, ""},
		{"response without result", abstract.RspRPC, `{"rcode":0}`, fine, ""},
		{"response 0.0", abstract.RspRPC, `{"rcode":0.0,"result":1}`, fine, ""},
		{"response without rcode", abstract.RspRPC, `{"result":1}`, abstract.InvalidMessage, "rcode"},
		{"rcode a string", abstract.RspRPC, `{"rcode":"0","result":1}`, abstract.InvalidMessage, "rcode"},
		{"rcode true", abstract.RspRPC, `{"rcode":true,"result":1}`, abstract.InvalidMessage, "rcode"},
		{"rcode above 32 bits", abstract.RspRPC, `{"rcode":4294967296,"result":1}`, abstract.InvalidMessage, "rcode"},
		{"message a number", abstract.RspRPC, `{"rcode":9,"message":5}`, abstract.InvalidMessage, "message"},
		{"topic response without rcode", abstract.RspTopic, `{}`, abstract.InvalidMessage, "rcode"},
		{"service response without rcode", abstract.RspService, `{"optype":0}`, abstract.InvalidMessage, "rcode"},
		{"service response without optype", abstract.RspService, `{"rcode":0}`, abstract.InvalidMessage, "optype"},
		{"discovered nobody", abstract.RspService, `{"optype":1,"rcode":0,"method":"a","host":[]}`, fine, ""},
		{"discovered, no method", abstract.RspService, `{"optype":1,"rcode":0,"host":[{"ip":"h","port":1}]}`, fine, ""},
		{"discovered without host", abstract.RspService, `{"optype":1,"rcode":0,"method":"a"}`, abstract.InvalidMessage, "host"},
		{"discovered an object", abstract.RspService, `{"optype":1,"rcode":0,"method":"a","host":{}}`, abstract.InvalidMessage, "host"},
		{"discovered rubbish", abstract.RspService, `{"optype":1,"rcode":0,"method":"a","host":[1,2]}`, abstract.InvalidMessage, "host"},
		{"discovered port 0", abstract.RspService, `{"optype":1,"rcode":0,"method":"a","host":[{"ip":"h","port":0}]}`, abstract.InvalidMessage, "port"},
		{"refused discovery needs no host", abstract.RspService, `{"optype":1,"rcode":6}`, fine, ""},

		{"hello", abstract.ReqHello, `{}`, fine, ""},
		{"hello, version a string", abstract.ReqHello, `{"version":"1"}`, abstract.InvalidMessage, "version"},
		{"hello, max_frame negative", abstract.ReqHello, `{"max_frame":-1}`, abstract.InvalidMessage, "max_frame"},
		{"hello, agent too long", abstract.ReqHello, `{"agent":"` + long + `"}`, abstract.InvalidMessage, "agent"},
		{"hello response without rcode", abstract.RspHello, `{}`, abstract.InvalidMessage, "rcode"},
		{"hello response, ping_ms 1.5", abstract.RspHello, `{"rcode":0,"ping_ms":1.5}`, abstract.InvalidMessage, "ping_ms"},
		{"goodbye", abstract.Goodbye, `{}`, fine, ""},
		{"goodbye, rcode a string", abstract.Goodbye, `{"rcode":"0"}`, abstract.InvalidMessage, "rcode"},
		{"unsupported", abstract.RspUnsupported, `{"rcode":25,"mtype":99}`, fine, ""},
		{"unsupported, mtype a string", abstract.RspUnsupported, `{"rcode":25,"mtype":"x"}`, abstract.InvalidMessage, "mtype"},
		{"gap without topic", abstract.Gap, `{"missed":1}`, abstract.InvalidMessage, "topic_key"},
		{"gap, missed negative", abstract.Gap, `{"topic_key":"news","missed":-1}`, abstract.InvalidMessage, "missed"},
		{"ping", abstract.Ping, `{"anything":1}`, fine, ""},
		{"unknown", 99, `{"anything":1}`, fine, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := read(t, c.typ, c.body).Check()
			assert.Equal(t, c.code, abstract.CodeOf(err), err)
			if c.code != fine {
				assert.ErrorContains(t, err, c.text)
			}
		})
	}
}

func TestUnknownOperationIsKeptForTheAnswer(t *testing.T) {
	assert.Equal(t, abstract.ServiceOp(9), read(t, abstract.ReqService, `{"optype":9}`).(*message.ServiceRequest).Op)
	assert.Equal(t, abstract.TopicOp(-1), read(t, abstract.ReqTopic, `{"optype":-1}`).(*message.TopicRequest).Op)
}

func TestUnknownReturnCodesSurvive(t *testing.T) {
	for body, want := range map[string]abstract.RCode{`{"rcode":42}`: 42, `{"rcode":-7}`: -7, `{"rcode":2147483647}`: 2147483647} {
		assert.Equal(t, want, read(t, abstract.RspRPC, body).(*message.RpcResponse).Code)
	}
}

// TestLongestTimesFitADuration: a caller's largest number must not turn into a
// time in the past.
func TestLongestTimesFitADuration(t *testing.T) {
	const longest int64 = 9223372036854
	req := read(t, abstract.ReqRPC, `{"method":"a","parameters":{},"timeout_ms":9223372036854775807}`).(*message.RpcRequest)
	assert.Equal(t, longest, req.TimeoutMs)
	rsp := read(t, abstract.RspHello, `{"rcode":0,"ping_ms":9223372036854775807,"max_frame":9223372036854775807}`).(*message.HelloResponse)
	require.NoError(t, rsp.Check())
	assert.Equal(t, longest, rsp.PingMs)
	assert.Equal(t, 1<<31-1, rsp.MaxFrame)
}

// TestIntegersOf64BitsAreExact, and larger ones are refused, not wrapped.
func TestIntegersOf64BitsAreExact(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "-0": 0, "7": 7, "9007199254740993": 9007199254740993, "999999999999999999": 999999999999999999,
		"9223372036854775807": math.MaxInt64, "9223372036854775807.0": math.MaxInt64, "922337203685477580700e-2": math.MaxInt64, "9.223372036854775807e18": math.MaxInt64,
	} {
		m := read(t, abstract.Gap, `{"topic_key":"t","missed":`+text+`}`).(*message.GapNotice)
		require.NoError(t, m.Check(), text)
		assert.Equal(t, want, m.Missed, text)
	}
	for _, text := range []string{
		"9223372036854775808", "9223372036854775809", "18446744073709551616", "18446744073709551621", "99999999999999999999",
		"100000000000000000005", "1e19", "1e400", "1e99999999999999999999", "-9223372036854775808", "-9223372036854775809", "-18446744073709551611",
	} {
		m := read(t, abstract.Gap, `{"topic_key":"t","missed":`+text+`}`)
		assert.Equal(t, abstract.InvalidMessage, abstract.CodeOf(m.Check()), text)
	}
}

// TestDeepBodiesAreAnswered: they are JSON, so the stream is in order.
func TestDeepBodiesAreAnswered(t *testing.T) {
	nested := func(levels int) string {
		return `{"method":"a","parameters":{"a":` + strings.Repeat("[", levels-2) + strings.Repeat("]", levels-2) + `}}`
	}
	assert.NoError(t, read(t, abstract.ReqRPC, nested(128)).Check())
	for _, levels := range []int{129, 200, 100_000} {
		err := read(t, abstract.ReqRPC, nested(levels)).Check()
		assert.Equal(t, abstract.InvalidMessage, abstract.CodeOf(err))
		assert.ErrorContains(t, err, "deeper than 128")
	}
	_, err := codec.Unmarshal(abstract.ReqRPC, "1", []byte(strings.Repeat(`{"a":[`, 100_000)), nil)
	assert.Equal(t, abstract.ParseFailed, abstract.CodeOf(err))
	mixed := strings.Repeat(`{"a":[`, 100) + strings.Repeat(`]}`, 100)
	assert.NoError(t, message.Valid(message.Raw(mixed)))
	assert.Error(t, message.Valid(message.Raw(strings.Replace(mixed, "]}]}", "]]}}", 1))), "brackets must match on deep levels too")
}

func TestConfigSetsTheLimits(t *testing.T) {
	small := message.New(message.Config{MaxDepth: 2, MaxMethod: 3, MaxTopic: 4})
	for body, code := range map[string]abstract.RCode{
		`{"method":"abc","parameters":{}}`:        abstract.OK,
		`{"method":"abcd","parameters":{}}`:       abstract.InvalidMessage,
		`{"method":"abc","parameters":{"a":[]}}`:  abstract.InvalidMessage,
		`{"method":"äb","parameters":{}}`:         abstract.OK,
		`{"method":"äbc","parameters":{}}`:        abstract.InvalidMessage,
		`{"method":"\u00e4b","parameters":{}}`:    abstract.OK,
		`{"method":"\u0000abc","parameters":{}}`:  abstract.InvalidMessage,
		`{"method":"abc","parameters":{"a":[1]}}`: abstract.InvalidMessage,
	} {
		m, err := small.Unmarshal(abstract.ReqRPC, "1", []byte(body), nil)
		require.NoError(t, err)
		assert.Equal(t, code, abstract.CodeOf(m.Check()), body)
	}
	m, err := small.Unmarshal(abstract.ReqTopic, "1", []byte(`{"optype":0,"topic_key":"abcde"}`), nil)
	require.NoError(t, err)
	assert.Equal(t, abstract.InvalidMessage, abstract.CodeOf(m.Check()))
}

func TestFrameIsKeptForPassingOn(t *testing.T) {
	frame := []byte("header{}")
	m, err := codec.Unmarshal(abstract.Ping, "1", frame[6:], frame)
	require.NoError(t, err)
	assert.Equal(t, frame, m.(*message.Ping).Frame())
	assert.Nil(t, (&message.Ping{Header: message.ID("1")}).Frame())
}

// samples are messages with all their fields set, and the bodies they have.
func samples() map[string]abstract.BaseMessage {
	id := message.ID("id")
	host := abstract.Host{IP: "::1", Port: 7700}
	return map[string]abstract.BaseMessage{
		`{"method":"math.add","parameters":{"a":1}}`:                  &message.RpcRequest{Header: id, Method: "math.add", Parameters: message.Raw(`{"a":1}`)},
		`{"method":"q\"\\\n\u0001é","parameters":{},"timeout_ms":50}`: &message.RpcRequest{Header: id, Method: "q\"\\\n\x01é", Parameters: message.Raw(`{}`), TimeoutMs: 50},
		`{"rcode":0,"result":{"b":2}}`:                                &message.RpcResponse{Header: id, Result: message.Raw(`{"b":2}`)},
		`{"rcode":5,"result":null,"message":"no <a>","details":[1]}`:  &message.RpcResponse{Header: id, Code: 5, Result: message.Raw("null"), Message: "no <a>", Details: message.Raw(`[1]`)},
		`{"optype":0,"topic_key":""}`:                                 &message.TopicRequest{Header: id},
		`{"optype":4,"topic_key":"news","topic_msg":"m0"}`:            &message.TopicRequest{Header: id, Op: 4, Topic: "news", Message: message.Raw(`"m0"`)},
		`{"optype":4,"topic_key":"news","topic_msg":1,"offset":7}`:    &message.TopicRequest{Header: id, Op: 4, Topic: "news", Message: message.Raw(`1`), Offset: 7},
		`{"optype":4,"topic_key":"news","topic_msg":1,"offset":7,"sub":"3","time_ms":12,"delivery":5,"delivered":2}`: &message.TopicRequest{
			Header: id, Op: 4, Topic: "news", Message: message.Raw(`1`), Offset: 7,
			More: &message.TopicExtras{Sub: "3", Time: time.UnixMilli(12), Delivery: 5, Delivered: 2},
		},
		`{"optype":4,"topic_key":"t","topic_msg":1,"epoch":"e","msg_id":"m","delay_ms":5,"at_ms":6,"ttl_ms":7,"report":1}`: &message.TopicRequest{
			Header: id, Op: 4, Topic: "t", Message: message.Raw(`1`),
			More: &message.TopicExtras{Epoch: "e", MsgID: "m", Delay: 5 * time.Millisecond, At: time.UnixMilli(6), TTL: 7 * time.Millisecond, Report: true},
		},
		`{"optype":2,"topic_key":"a.*","sub":"1","from":9,"group":"g","where":{"k":"v","l":"w"},"name":"n","ack":1,"window":4,"presence":1}`: &message.TopicRequest{
			Header: id, Op: 2, Topic: "a.*",
			More: &message.TopicExtras{Sub: "1", From: message.TopicFrom{Where: message.FromOffset, Offset: 9}, Group: "g", Where: map[string]string{"k": "v", "l": "w"}, Name: "n", Ack: true, Window: 4, Watch: true},
		},
		`{"optype":2,"topic_key":"a","from":"last"}`:           &message.TopicRequest{Header: id, Op: 2, Topic: "a", More: &message.TopicExtras{From: message.TopicFrom{Where: message.FromLast}}},
		`{"optype":2,"topic_key":"a","from":"new"}`:            &message.TopicRequest{Header: id, Op: 2, Topic: "a", More: &message.TopicExtras{From: message.TopicFrom{Where: message.FromNew}}},
		`{"optype":2,"topic_key":"a","from":"all"}`:            &message.TopicRequest{Header: id, Op: 2, Topic: "a", More: &message.TopicExtras{From: message.TopicFrom{Where: message.FromAll}}},
		`{"optype":2,"topic_key":"a","from":{"time_ms":1000}}`: &message.TopicRequest{Header: id, Op: 2, Topic: "a", More: &message.TopicExtras{From: message.TopicFrom{Where: message.FromTime, Time: time.UnixMilli(1000)}}},
		`{"optype":19,"topic_key":"a","sub":"1","delay_ms":9,"deliveries":[1,2],"nack":1}`: &message.TopicRequest{
			Header: id, Op: 19, Topic: "a", More: &message.TopicExtras{Sub: "1", Delay: 9 * time.Millisecond, Deliveries: []uint64{1, 2}, Nack: true},
		},
		`{"optype":19,"topic_key":"a","sub":"1","deliveries":[1],"progress":1}`: &message.TopicRequest{
			Header: id, Op: 19, Topic: "a", More: &message.TopicExtras{Sub: "1", Deliveries: []uint64{1}, Progress: true},
		},
		`{"optype":2,"topic_key":"a.>","sub":"1","resume":{"places":[]}}`: &message.TopicRequest{Header: id, Op: 2, Topic: "a.>", More: &message.TopicExtras{Sub: "1", Resume: &message.TopicResume{}}},
		`{"optype":2,"topic_key":"a.>","sub":"1","resume":{"places":[{"topic":"a.b","epoch":"e","offset":7},{"topic":"a.c","offset":1}],"mark":"m","partial":1}}`: &message.TopicRequest{
			Header: id, Op: 2, Topic: "a.>", More: &message.TopicExtras{Sub: "1", Resume: &message.TopicResume{
				Mark: "m", Partial: true, Places: []message.TopicPlace{{Topic: "a.b", Epoch: "e", Offset: 7}, {Topic: "a.c", Offset: 1}}}},
		},
		`{"rcode":0,"recovered":true,"resume":{"places":[{"topic":"a.b","epoch":"e","recovered":false}],"mark":"m"}}`: &message.TopicResponse{
			Header: id, Recovered: message.Yes, Resume: &message.TopicResume{Mark: "m", Places: []message.TopicPlace{{Topic: "a.b", Epoch: "e", Lost: true}}},
		},
		`{"optype":23,"topic_key":"a","offsets":[7,9]}`:                   &message.TopicRequest{Header: id, Op: 23, Topic: "a", More: &message.TopicExtras{Offsets: []uint64{7, 9}}},
		`{"rcode":0,"due_ms":1000}`:                                       &message.TopicResponse{Header: id, Due: time.UnixMilli(1000)},
		`{"optype":20,"topic_key":"a","topic_msg":null}`:                  &message.TopicRequest{Header: id, Op: 20, Topic: "a", Message: message.Raw(`null`)},
		`{"optype":21,"topic_key":"a","from":3,"most":10}`:                &message.TopicRequest{Header: id, Op: 21, Topic: "a", More: &message.TopicExtras{From: message.TopicFrom{Where: message.FromOffset, Offset: 3}, Most: 10}},
		`{"optype":16,"topic_key":"a","settings":{"retain":true}}`:        &message.TopicRequest{Header: id, Op: 16, Topic: "a", More: &message.TopicExtras{Settings: message.Raw(`{"retain":true}`)}},
		`{"rcode":0,"offset":9,"subscribers":2,"duplicate":1}`:            &message.TopicResponse{Header: id, Offset: 9, Subscribers: 2, Duplicate: true},
		`{"rcode":0,"offset":9,"epoch":"e","recovered":false,"info":[1]}`: &message.TopicResponse{Header: id, Offset: 9, Epoch: "e", Recovered: message.No, Info: message.Raw(`[1]`)},
		`{"topic_key":"t","sub":"1","missed":3}`:                          &message.GapNotice{Header: id, Topic: "t", Sub: "1", Missed: 3},
		`{"rcode":8,"message":"no such topic"}`:                           &message.TopicResponse{Header: id, Code: 8, Message: "no such topic"},
		`{"optype":1,"method":"a"}`:                                       &message.ServiceRequest{Header: id, Op: 1, Method: "a"},
		`{"optype":0,"method":"a","methods":["b","c"],"host":{"ip":"","port":7700},"instance":"i","ttl_ms":5000,"weight":3,"zone":"z","version":"v","tags":["x","y"],"metadata":{"a":"1","b":"\"2"},"state":"draining","relay":1}`: &message.ServiceRequest{
			Header: id, Method: "a", Methods: []string{"b", "c"}, Host: &abstract.Host{Port: 7700}, Instance: "i", TTLMs: 5000,
			Traits: abstract.Traits{Weight: 3, Zone: "z", Version: "v", Tags: abstract.NewTags("y", "x"), Meta: abstract.NewMeta(map[string]string{"b": `"2`, "a": "1"}), State: abstract.Retiring, Relay: true},
		},
		`{"optype":3,"method":"a","host":{"ip":"::1","port":7700},"revision":7,"reason":"lost"}`: &message.ServiceRequest{Header: id, Op: 3, Method: "a", Host: &host, Revision: 7, Reason: "lost"},
		`{"optype":17,"method":"a","host":{"ip":"::1","port":7700},"reason":"refused"}`:          &message.ServiceRequest{Header: id, Op: 17, Method: "a", Host: &host, Reason: "refused"},
		`{"optype":2,"method":"a","host":{"ip":"::1","port":7700}}`:                              &message.ServiceRequest{Header: id, Op: 2, Method: "a", Host: &host},
		`{"optype":0,"method":"a","host":{"ip":"::1","port":7700},"instance":"i","hello":1}`:     &message.ServiceRequest{Header: id, Method: "a", Host: &host, Instance: "i", Hello: true},
		`{"optype":0,"rcode":0}`:                    &message.ServiceResponse{Header: id},
		`{"optype":1,"rcode":6,"message":"nobody"}`: &message.ServiceResponse{Header: id, Op: 1, Code: 6, Message: "nobody"},
		`{"optype":1,"rcode":0,"method":"a","host":[{"ip":"::1","port":7700},{"ip":"::1","port":7700,"instance":"i","hello":1}]}`: &message.ServiceResponse{
			Header: id, Op: 1, Method: "a", Hosts: []message.ProviderHost{{Host: host}, {Host: host, Instance: "i", Hello: true}}},
		`{"optype":1,"rcode":0,"method":"a","host":[],"unchanged":1,"revision":9}`:        &message.ServiceResponse{Header: id, Op: 1, Method: "a", Unchanged: true, Revision: 9},
		`{"optype":0,"rcode":0,"registered":{"ip":"::1","port":7700}}`:                    &message.ServiceResponse{Header: id, Registered: &host},
		`{"method":"a","parameters":{},"timeout_ms":5,"instance":"i","relay":1}`:          &message.RpcRequest{Header: id, Method: "a", Parameters: message.Raw(`{}`), TimeoutMs: 5, Instance: "i", Relay: true},
		`{"method":"a","parameters":{},"oneway":1,"meta":{"a":"1","b":"\"2"}}`:            &message.RpcRequest{Header: id, Method: "a", Parameters: message.Raw(`{}`), OneWay: true, Meta: abstract.Metadata{"b": `"2`, "a": "1"}},
		`{"method":"a","parameters":{},"timeout_ms":5,"meta":{"a":"1"}}`:                  &message.RpcRequest{Header: id, Method: "a", Parameters: message.Raw(`{}`), TimeoutMs: 5, Meta: abstract.Metadata{"a": "1"}},
		`{"optype":4,"topic_key":"t","topic_msg":1,"meta":{"a":"1"}}`:                     &message.TopicRequest{Header: id, Op: 4, Topic: "t", Message: message.Raw("1"), Meta: abstract.Metadata{"a": "1"}},
		`{"version":1,"agent":"t","max_frame":9,"instance":"i","compress":["s2","zstd"]}`: &message.Hello{Header: id, Version: 1, Agent: "t", MaxFrame: 9, Instance: "i", Compress: []string{"s2", "zstd"}},
		`{"rcode":20,"version":1,"agent":"t","max_frame":9,"ping_ms":0,"misses":0,"compress":["s2"],"retry_after_ms":250}`: &message.HelloResponse{
			Header: id, Code: 20, Version: 1, Agent: "t", MaxFrame: 9, Compress: []string{"s2"}, RetryAfterMs: 250},
		`{"version":1,"agent":"t","max_frame":8388608}`: &message.Hello{Header: id, Version: 1, Agent: "t", MaxFrame: 8 << 20},
		`{"rcode":0,"version":1,"agent":"t","max_frame":9,"ping_ms":2000,"misses":5,"message":"m"}`: &message.HelloResponse{
			Header: id, Version: 1, Agent: "t", MaxFrame: 9, PingMs: 2000, Misses: 5, Message: "m"},
		`{"rcode":19,"message":"bye"}`:             &message.Goodbye{Header: id, Code: 19, Reason: "bye"},
		`{"rcode":25,"mtype":99,"message":"what"}`: &message.Unsupported{Header: id, Code: 25, MType: 99, Message: "what"},
		`{"topic_key":"news","missed":7}`:          &message.GapNotice{Header: id, Topic: "news", Missed: 7},
		`{"method":"a","parameters":{"b":1},"credit":9,"timeout_ms":5,"instance":"i","relay":1}`: &message.StreamRequest{
			Header: id, Method: "a", Parameters: message.Raw(`{"b":1}`), Credit: 9, TimeoutMs: 5, Instance: "i", Relay: true},
		`{"data":[1]}`: &message.StreamMessage{Header: id, Data: message.Raw(`[1]`)},
		`{"bytes":70}`: &message.CreditNotice{Header: id, Bytes: 70},
		`{"rcode":9,"message":"why","details":{}}`: &message.EndNotice{Header: id, Code: 9, Message: "why", Details: message.Raw(`{}`)},
		`{"x":[1]}`: &message.Unknown{Header: id, T: 99, Body: message.Raw(`{"x":[1]}`)},
	}
}

func TestMessagesSurviveTheWire(t *testing.T) {
	for body, m := range samples() {
		text, err := codec.AppendBody([]byte("before"), m)
		require.NoError(t, err)
		assert.Equal(t, "before"+body, string(text))
		back, err := codec.Unmarshal(m.Type(), "id", []byte(body), nil)
		require.NoError(t, err)
		require.NoError(t, back.Check(), body)
		assert.Equal(t, m, back)
	}
	for _, m := range []abstract.BaseMessage{&message.Ping{}, &message.Pong{}, &message.Cancel{}} {
		text, err := codec.AppendBody(nil, m)
		require.NoError(t, err)
		assert.Equal(t, "{}", string(text))
	}
}

func TestEmptyRawsAreWrittenAsNothing(t *testing.T) {
	for want, m := range map[string]abstract.BaseMessage{
		`{"method":"a","parameters":{}}`:                &message.RpcRequest{Method: "a"},
		`{"rcode":0,"result":null}`:                     &message.RpcResponse{},
		`{"optype":4,"topic_key":"t","topic_msg":null}`: &message.TopicRequest{Op: 4, Topic: "t"},
		`{"optype":1,"rcode":0,"method":"a","host":[]}`: &message.ServiceResponse{Op: 1, Method: "a"},
		`{}`: &message.Unknown{T: 99},
		`{"optype":0,"topic_key":"a\ufffdb\u0000"}`: &message.TopicRequest{Topic: "a\xffb\x00"},
	} {
		text, err := codec.AppendBody(nil, m)
		require.NoError(t, err)
		assert.JSONEq(t, want, string(text))
		assert.NoError(t, message.Valid(text))
	}
}

type stranger struct{ message.Ping }

func TestStrangeMessagesAreRefused(t *testing.T) {
	before := []byte("before")
	text, err := codec.AppendBody(before, &stranger{})
	assert.Equal(t, abstract.Internal, abstract.CodeOf(err))
	assert.Equal(t, "before", string(text))
}
