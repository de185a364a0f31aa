package beacon

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"bluez-esphome/internal/ble"
)

var eddystoneUUID = ble.UUID16(0xfeaa)

// eddystone decodes the frames of Google's Eddystone specification.
func eddystone(data []byte) string {
	if len(data) == 0 {
		return undecoded("Eddystone", data)
	}
	kind := data[0]
	switch {
	case kind == 0x00 && len(data) >= 18: // the two bytes behind it are reserved
		return fmt.Sprintf("Eddystone-UID, namespace %s, instance %s, %d dBm at 0 m", hex.EncodeToString(data[2:12]), hex.EncodeToString(data[12:18]), int8(data[1]))
	case kind == 0x10 && len(data) >= 3:
		if url, ok := eddystoneURL(data[2:]); ok {
			return fmt.Sprintf("Eddystone-URL %s, %d dBm at 0 m", url, int8(data[1]))
		}
	case kind == 0x20 && len(data) == 14 && data[1] == 0:
		return telemetry(data)
	case kind == 0x20 && len(data) == 18 && data[1] == 1:
		return undecoded("Eddystone-TLM, encrypted", data[2:])
	case kind == 0x30 && len(data) == 10:
		return fmt.Sprintf("Eddystone-EID %s, %d dBm at 0 m", hex.EncodeToString(data[2:]), int8(data[1]))
	}
	return undecoded("Eddystone", data)
}

func telemetry(data []byte) string {
	list := []string{}
	if mv := binary.BigEndian.Uint16(data[2:]); mv != 0 { // else it has no battery
		list = append(list, fmt.Sprintf("battery %.3g V", float64(mv)/1000))
	}
	if t := int16(binary.BigEndian.Uint16(data[4:])); t != -0x8000 {
		list = append(list, fmt.Sprintf("temperature %s °C", decimal(float64(t)/256, 2)))
	}
	up := time.Duration(binary.BigEndian.Uint32(data[10:])) * 100 * time.Millisecond
	list = append(list, fmt.Sprintf("%d advertisements in %v", binary.BigEndian.Uint32(data[6:]), up.Round(time.Second)))
	return "Eddystone-TLM, " + strings.Join(list, ", ")
}

var (
	schemes = []string{"http://www.", "https://www.", "http://", "https://"}
	domains = []string{".com/", ".org/", ".edu/", ".net/", ".info/", ".biz/", ".gov/", ".com", ".org", ".edu", ".net", ".info", ".biz", ".gov"}
)

// eddystoneURL expands a URL; false if it has bytes that the specification reserves.
func eddystoneURL(data []byte) (string, bool) {
	if int(data[0]) >= len(schemes) {
		return "", false
	}
	var b strings.Builder
	b.WriteString(schemes[data[0]])
	for _, c := range data[1:] {
		switch {
		case int(c) < len(domains):
			b.WriteString(domains[c])
		case c > ' ' && c < 0x7f:
			b.WriteByte(c)
		default:
			return "", false
		}
	}
	return b.String(), true
}
