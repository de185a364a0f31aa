package beacon

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed" // for the names
	"fmt"
	"strings"

	"bluez-esphome/internal/ble"
)

// assigned are the names of companies and services (Bluetooth SIG, Assigned Numbers) that scripts/names.sh writes:
// lines of c or s, four hexadecimal digits, a space and the name, sorted.
//
//go:embed names.gz
var assigned []byte

// ours are names that the table does not have.
var ours = map[string]string{"cffff": "none (for tests)"}

// assignedName looks a name up, "" if there is none. It reads the compressed table each time, half a millisecond:
// panels of devices are opened now and then, and the table would else be in memory for ever.
func assignedName(key string) string {
	if name := ours[key]; name != "" {
		return name
	}
	r, err := gzip.NewReader(bytes.NewReader(assigned))
	if err != nil {
		return ""
	}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), key+" "); ok {
			return rest
		}
	}
	return ""
}

// company names a company by its number.
func company(id uint16) string {
	if name := assignedName(fmt.Sprintf("c%04x", id)); name != "" {
		return fmt.Sprintf("%s (0x%04x)", name, id)
	}
	return fmt.Sprintf("company 0x%04x", id)
}

// service names a service by its UUID.
func service(u ble.UUID) string {
	short, ok := u.Short()
	if !ok || short > 0xffff {
		return u.String()
	}
	if name := assignedName(fmt.Sprintf("s%04x", short)); name != "" {
		return fmt.Sprintf("%s (0x%04x)", name, short)
	}
	return fmt.Sprintf("0x%04x", short)
}
