package message
import ("testing";"strings"
"bytes"
 "github.com/goccy/go-json"
 jsonv2 "github.com/goccy/go-json/v2"
)
func BenchmarkZZ(b *testing.B) {
	raw := Raw(`{"msg":"` + strings.Repeat("x", 80) + `"}`)
	for n, o := range map[string]jsonv2.Options{
	"exact": exact,
	"exact-nolegacyerr": jsonv2.JoinOptions(json.DefaultOptionsV1(), jsonv2.MatchCaseInsensitiveNames(false), json.ReportErrorsWithLegacySemantics(false)),
	"v2": jsonv2.DefaultOptionsV2(),
	"lossless": lossless,
	} {
		b.Run(n, func(b *testing.B){ b.ReportAllocs(); for b.Loop() { var v echoArgs; if err := jsonv2.Unmarshal(raw,&v,o); err!=nil {b.Fatal(err)}}})
		b.Run(n+"-any", func(b *testing.B){ b.ReportAllocs(); for b.Loop() { var v any; if err := jsonv2.Unmarshal(raw,&v,o); err!=nil {b.Fatal(err)}}})
	}
	b.Run("v2none", func(b *testing.B){ b.ReportAllocs(); for b.Loop() { var v echoArgs; if err := jsonv2.Unmarshal(raw,&v); err!=nil {b.Fatal(err)}}})
	b.Run("v1", func(b *testing.B){ b.ReportAllocs(); for b.Loop() { var v echoArgs; if err := json.Unmarshal(raw,&v); err!=nil {b.Fatal(err)}}})
	b.Run("v1any", func(b *testing.B){ b.ReportAllocs(); for b.Loop() { var v any; if err := json.Unmarshal(raw,&v); err!=nil {b.Fatal(err)}}})
	b.Run("v1-usenumber-any", func(b *testing.B){ b.ReportAllocs(); for b.Loop() { var v any; d:=json.NewDecoder(bytes.NewReader(raw)); d.UseNumber(); if err := d.Decode(&v); err!=nil {b.Fatal(err)}}})
}
