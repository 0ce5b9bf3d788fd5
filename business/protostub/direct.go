package protostub

import (
	"reflect"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// directFields finds the plain string fields that are fields of the generated struct as
// well, and returns that struct. Setting a string by reflection on messages takes an
// allocation more and several times as long, and most fields are strings. Types whose
// fields are hidden have no such fields, and messages that are made at run time are not
// of that struct: both go the other way.
func directFields(d protoreflect.MessageDescriptor, fields []field) reflect.Type {
	for i := range fields {
		fields[i].direct = -1
	}
	registered, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil || registered.Descriptor() != d {
		return nil
	}
	t := reflect.TypeOf(registered.Zero().Interface())
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return nil
	}
	t = t.Elem()
	byNumber := make(map[string]int)
	for i := range t.NumField() {
		tag := strings.Split(t.Field(i).Tag.Get("protobuf"), ",") // "bytes,14,opt,name=string,proto3"
		if t.Field(i).IsExported() && t.Field(i).Type.Kind() == reflect.String && len(tag) > 1 {
			byNumber[tag[1]] = i
		}
	}
	found := false
	for i := range fields {
		f := &fields[i]
		at, ok := byNumber[strconv.Itoa(int(f.Number()))]
		if ok && f.kind == protoreflect.StringKind && !f.presence && !f.list && f.key == nil {
			f.direct, found = at, true
		}
	}
	if !found {
		return nil
	}
	return t
}

// setText sets a string field, and returns whether it could.
func (p *plan) setText(m protoreflect.Message, f *field, text string) bool {
	if f.direct < 0 {
		return false
	}
	v := reflect.ValueOf(m.Interface())
	if v.Kind() != reflect.Pointer || v.Type().Elem() != p.goType {
		return false
	}
	v.Elem().Field(f.direct).SetString(text)
	return true
}
