package bluezshim

import (
	"strings"

	"github.com/godbus/dbus/v5"
)

// parseOptions reads the options of ReadValue and WriteValue (bluetoothd 5.87): keys without regard to case,
// offset a q, type an s; others are ignored.
func parseOptions(body any) (offset int, typ string, err error) {
	dict, _ := body.(map[string]dbus.Variant)
	for key, v := range dict {
		switch strings.ToLower(key) {
		case "offset":
			n, ok := v.Value().(uint16)
			if !ok {
				return 0, "", errInvalidArguments
			}
			offset = int(n)
		case "type":
			s, ok := v.Value().(string)
			if !ok {
				return 0, "", errInvalidArguments
			}
			typ = s
			if s == "" {
				typ = "?" // given, and none of those that exist
			}
		}
	}
	return offset, typ, nil
}
