package protostub_test

import (
	"math"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"trefoil/business/protostub/internal/common"
)

// fill gives random values to random fields of a message, down to a depth.
func fill(t *rapid.T, m protoreflect.Message, depth int) {
	if drawKnown(t, m) {
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		leaf := f.Message() == nil || f.IsMap() && f.MapValue().Message() == nil
		if f.Cardinality() != protoreflect.Required && (depth == 0 && !leaf || rapid.IntRange(0, 2).Draw(t, "set") == 0) {
			continue
		}
		switch {
		case f.IsList():
			list := m.Mutable(f).List()
			for range rapid.IntRange(0, 3).Draw(t, "len") {
				list.Append(drawValue(t, f, list.NewElement, depth))
			}
		case f.IsMap():
			entries := m.Mutable(f).Map()
			for range rapid.IntRange(0, 3).Draw(t, "len") {
				k := drawValue(t, f.MapKey(), nil, 0).MapKey()
				entries.Set(k, drawValue(t, f.MapValue(), entries.NewValue, depth))
			}
		default:
			m.Set(f, drawValue(t, f, func() protoreflect.Value { return m.NewField(f) }, depth))
		}
	}
}

func drawValue(t *rapid.T, f protoreflect.FieldDescriptor, empty func() protoreflect.Value, depth int) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "v"))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, "v"))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, "v"))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, "v"))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, "v"))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(drawFloat(t)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(drawFloat(t))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.String().Draw(t, "v"))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "v"))
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		n := values.Get(rapid.IntRange(0, values.Len()-1).Draw(t, "v")).Number()
		if !f.Enum().IsClosed() && f.Enum().FullName() != "google.protobuf.NullValue" && rapid.IntRange(0, 4).Draw(t, "unknown") == 0 {
			n = 77
		}
		return protoreflect.ValueOfEnum(n)
	}
	v := empty()
	fill(t, v.Message(), depth-1)
	return v
}

func drawFloat(t *rapid.T) float64 {
	return rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, 1e21, 1e20, 1e-6, 1e-7, 123456789, math.NaN(), math.Inf(1), math.Inf(-1)})).Draw(t, "v")
}

// drawKnown fills messages whose values have rules of their own.
func drawKnown(t *rapid.T, m protoreflect.Message) bool {
	var v proto.Message
	switch m.Descriptor().FullName() {
	case "google.protobuf.Timestamp":
		v = &timestamppb.Timestamp{Seconds: rapid.Int64Range(0, 1e10).Draw(t, "s"), Nanos: rapid.Int32Range(0, 999_999_999).Draw(t, "n")}
	case "google.protobuf.Duration":
		v = &durationpb.Duration{Seconds: rapid.Int64Range(0, 1e9).Draw(t, "s"), Nanos: rapid.Int32Range(0, 999_999_999).Draw(t, "n")}
	case "google.protobuf.FieldMask":
		v = &fieldmaskpb.FieldMask{Paths: rapid.SampledFrom([][]string{nil, {"a"}, {"a_b.c", "d"}}).Draw(t, "paths")}
	case "google.protobuf.Struct":
		v = rapid.SampledFrom([]*structpb.Struct{{}, {Fields: map[string]*structpb.Value{"a": structpb.NewNullValue(), "b": structpb.NewStringValue(", \"x\": ")}}}).Draw(t, "struct")
	case "google.protobuf.Value":
		v = rapid.SampledFrom([]*structpb.Value{structpb.NewNullValue(), structpb.NewNumberValue(1.5), structpb.NewBoolValue(true), structpb.NewListValue(&structpb.ListValue{})}).Draw(t, "value")
	case "google.protobuf.ListValue":
		v = &structpb.ListValue{Values: []*structpb.Value{structpb.NewStringValue("x"), structpb.NewNullValue()}}
	case "google.protobuf.Any":
		inside := rapid.SampledFrom([]proto.Message{&common.Place{City: "Bern", ZipCode: "3000"}, durationpb.New(5)}).Draw(t, "any")
		v, _ = anypb.New(inside)
	default:
		return false
	}
	proto.Merge(m.Interface(), v)
	return true
}

// fillPlain is fill without the values that are written as another kind than the usual
// one: unknown values of enums, and what JSON has no number for.
func fillPlain(t *rapid.T, m protoreflect.Message) {
	fill(t, m, 3)
	plain(m)
}

func plain(m protoreflect.Message) {
	switch name := m.Descriptor().FullName(); {
	case name == "google.protobuf.DoubleValue", name == "google.protobuf.FloatValue":
		proto.Reset(m.Interface())
		return
	case name.Parent() == "google.protobuf":
		return
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				plain(v.Message())
				return true
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				plain(v.List().Get(i).Message())
			}
		case f.IsMap(), f.IsList(), f.Kind() == protoreflect.EnumKind, f.Kind() == protoreflect.FloatKind, f.Kind() == protoreflect.DoubleKind:
			m.Clear(f)
		case f.Message() != nil:
			plain(v.Message())
		}
		return true
	})
}
