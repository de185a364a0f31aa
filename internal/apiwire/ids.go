package apiwire

import "fmt"

// ID is the number that a frame carries for its message (ESPHome native API). The numbers that this program knows
// are in ids.gen.go, which make generate writes from apipb/api.proto.
type ID uint16

// String gives the API's name of the message, or "message N".
func (id ID) String() string {
	if m := New(id); m != nil {
		return string(m.ProtoReflect().Descriptor().Name())
	}
	return fmt.Sprintf("message %d", uint16(id))
}
