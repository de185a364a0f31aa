package replay

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/godbus/dbus/v5"
)

// encode gives a D-Bus value in the recordings' form: bytes are hexadecimal, keys are strings, a variant keeps its
// signature.
func encode(v any) any {
	switch v := v.(type) {
	case dbus.Variant:
		return map[string]any{"signature": v.Signature().String(), "value": encode(v.Value())}
	case []byte:
		return hex.EncodeToString(v)
	case dbus.ObjectPath:
		return string(v)
	case dbus.UnixFD, dbus.UnixFDIndex:
		return "fd"
	case string, bool:
		return v
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Slice:
		out := make([]any, r.Len())
		for i := range out {
			out[i] = encode(r.Index(i).Interface())
		}
		return out
	case reflect.Map:
		out := map[string]any{}
		for _, k := range r.MapKeys() {
			out[fmt.Sprint(k.Interface())] = encode(r.MapIndex(k).Interface())
		}
		return out
	}
	return v
}

func encodeAll(values []any) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = encode(v)
	}
	return out
}

// arguments gives a recorded call's arguments.
func arguments(t *testing.T, args any) []any {
	t.Helper()
	m, _ := args.(map[string]any)
	signature, _ := m["signature"].(string)
	values, _ := m["value"].([]any)
	var out []any
	for len(signature) > 0 {
		one := firstType(signature)
		out = append(out, decode(t, one, values[len(out)]))
		signature = signature[len(one):]
	}
	return out
}

// firstType cuts the first complete type off a signature, of those that the recordings have.
func firstType(s string) string {
	if s[0] != 'a' {
		return s[:1]
	}
	if s[1] == '{' {
		return s[:1+len("{sv}")]
	}
	return s[:2]
}

func decode(t *testing.T, signature string, v any) any {
	t.Helper()
	number, _ := v.(float64)
	text, _ := v.(string)
	switch signature {
	case "s":
		return text
	case "o":
		return dbus.ObjectPath(text)
	case "b":
		return v
	case "y":
		return byte(number)
	case "n":
		return int16(number)
	case "q":
		return uint16(number)
	case "i":
		return int32(number)
	case "u":
		return uint32(number)
	case "ay":
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return b
	case "as":
		out := []string{}
		for _, x := range v.([]any) {
			out = append(out, x.(string))
		}
		return out
	case "v":
		m := v.(map[string]any)
		s := m["signature"].(string)
		return dbus.MakeVariantWithSignature(decode(t, s, m["value"]), dbus.ParseSignatureMust(s))
	case "a{sv}":
		out := map[string]dbus.Variant{}
		for k, x := range v.(map[string]any) {
			out[k] = decode(t, "v", x).(dbus.Variant)
		}
		return out
	case "a{ss}":
		out := map[string]string{}
		for k, x := range v.(map[string]any) {
			out[k] = x.(string)
		}
		return out
	}
	t.Fatalf("no values of type %q", signature)
	return nil
}

// text is a value as JSON, with sorted keys.
func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
