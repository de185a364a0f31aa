package beacon

import (
	"encoding/hex"
	"fmt"

	"bluez-esphome/internal/ble"
)

const appleID = 0x004c

// continuity are the types of Apple's messages that are met most. Their contents are not public.
var continuity = map[byte]string{
	0x05: "AirDrop", 0x07: "AirPods", 0x09: "AirPlay", 0x0a: "AirPlay", 0x0c: "Handoff", 0x0d: "tethering", 0x0e: "tethering", 0x0f: "nearby action",
	0x10: "nearby", 0x12: "Find My",
}

// apple decodes iBeacon (Apple, Proximity Beacon Specification) and names the others.
func apple(data []byte) string {
	if len(data) == 23 && data[0] == 0x02 && data[1] == 0x15 {
		return fmt.Sprintf("iBeacon %s, major %d, minor %d, %d dBm at 1 m", ble.UUID(data[2:18]),
			int(data[18])<<8|int(data[19]), int(data[20])<<8|int(data[21]), int8(data[22]))
	}
	if len(data) >= 2 && continuity[data[0]] != "" {
		return undecoded(continuity[data[0]], data)
	}
	return hex.EncodeToString(data)
}
