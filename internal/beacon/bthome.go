package beacon

import (
	"fmt"
	"time"

	"bluez-esphome/internal/ble"
)

var bthomeUUID = ble.UUID16(0xfcd2)

// object is how BTHome writes one kind of value (bthome.io/format): its bytes, little-endian, and what one step is
// worth.
type object struct {
	name     string
	size     int // bytes; 0: the next byte says
	signed   bool
	factor   float64 // 0: it is read by a function of its own
	decimals int
	unit     string
}

// binaries are the objects with two values: what they are, and the words for 0 and 1.
var binaries = map[byte][3]string{
	0x0f: {"generic", "off", "on"}, 0x10: {"power", "off", "on"}, 0x11: {"opening", "closed", "open"}, 0x15: {"battery", "normal", "low"},
	0x16: {"charging", "no", "yes"}, 0x17: {"carbon monoxide", "clear", "detected"}, 0x18: {"cold", "no", "yes"}, 0x19: {"connected", "no", "yes"},
	0x1a: {"door", "closed", "open"}, 0x1b: {"garage door", "closed", "open"}, 0x1c: {"gas", "clear", "detected"}, 0x1d: {"heat", "no", "yes"},
	0x1e: {"light", "no", "yes"}, 0x1f: {"lock", "locked", "unlocked"}, 0x20: {"moisture", "dry", "wet"}, 0x21: {"motion", "clear", "detected"},
	0x22: {"moving", "no", "yes"}, 0x23: {"occupancy", "clear", "detected"}, 0x24: {"plug", "unplugged", "plugged in"}, 0x25: {"presence", "away", "home"},
	0x26: {"problem", "no", "yes"}, 0x27: {"running", "no", "yes"}, 0x28: {"safety", "unsafe", "safe"}, 0x29: {"smoke", "clear", "detected"},
	0x2a: {"sound", "clear", "detected"}, 0x2b: {"tamper", "off", "on"}, 0x2c: {"vibration", "clear", "detected"}, 0x2d: {"window", "closed", "open"},
}

var objects = map[byte]object{
	0x00: {"packet", 1, false, 1, 0, ""}, 0x01: {"battery", 1, false, 1, 0, "%"}, 0x02: {"temperature", 2, true, .01, 2, "°C"},
	0x03: {"humidity", 2, false, .01, 2, "%"}, 0x04: {"pressure", 3, false, .01, 2, "hPa"}, 0x05: {"illuminance", 3, false, .01, 2, "lx"},
	0x06: {"mass", 2, false, .01, 2, "kg"}, 0x07: {"mass", 2, false, .01, 2, "lb"}, 0x08: {"dew point", 2, true, .01, 2, "°C"},
	0x09: {"count", 1, false, 1, 0, ""}, 0x0a: {"energy", 3, false, .001, 3, "kWh"}, 0x0b: {"power", 3, false, .01, 2, "W"},
	0x0c: {"voltage", 2, false, .001, 3, "V"}, 0x0d: {"PM2.5", 2, false, 1, 0, "µg/m³"}, 0x0e: {"PM10", 2, false, 1, 0, "µg/m³"},
	0x12: {"CO₂", 2, false, 1, 0, "ppm"}, 0x13: {"VOC", 2, false, 1, 0, "µg/m³"}, 0x14: {"moisture", 2, false, .01, 2, "%"},
	0x2e: {"humidity", 1, false, 1, 0, "%"}, 0x2f: {"moisture", 1, false, 1, 0, "%"}, 0x3a: {"button", 1, false, 0, 0, ""},
	0x3b: {"command", 1, false, 0, 0, ""}, 0x3c: {"dimmer", 2, false, 0, 0, ""}, 0x3d: {"count", 2, false, 1, 0, ""},
	0x3e: {"count", 4, false, 1, 0, ""}, 0x3f: {"rotation", 2, true, .1, 1, "°"}, 0x40: {"distance", 2, false, 1, 0, "mm"},
	0x41: {"distance", 2, false, .1, 1, "m"}, 0x42: {"duration", 3, false, .001, 3, "s"}, 0x43: {"current", 2, false, .001, 3, "A"},
	0x44: {"speed", 2, false, .01, 2, "m/s"}, 0x45: {"temperature", 2, true, .1, 1, "°C"}, 0x46: {"UV index", 1, false, .1, 1, ""},
	0x47: {"volume", 2, false, .1, 1, "L"}, 0x48: {"volume", 2, false, 1, 0, "mL"}, 0x49: {"flow", 2, false, .001, 3, "m³/h"},
	0x4a: {"voltage", 2, false, .1, 1, "V"}, 0x4b: {"gas", 3, false, .001, 3, "m³"}, 0x4c: {"gas", 4, false, .001, 3, "m³"},
	0x4d: {"energy", 4, false, .001, 3, "kWh"}, 0x4e: {"volume", 4, false, .001, 3, "L"}, 0x4f: {"water", 4, false, .001, 3, "L"},
	0x50: {"time", 4, false, 0, 0, ""}, 0x51: {"acceleration", 2, false, .001, 3, "m/s²"}, 0x52: {"gyroscope", 2, false, .001, 3, "°/s"},
	0x53: {"text", 0, false, 0, 0, ""}, 0x54: {"raw", 0, false, 0, 0, ""}, 0x55: {"stored volume", 4, false, .001, 3, "L"},
	0x56: {"conductivity", 2, false, 1, 0, "µS/cm"}, 0x57: {"temperature", 1, true, 1, 0, "°C"}, 0x58: {"temperature", 1, true, .35, 2, "°C"},
	0x59: {"count", 1, true, 1, 0, ""}, 0x5a: {"count", 2, true, 1, 0, ""}, 0x5b: {"count", 4, true, 1, 0, ""},
	0x5c: {"power", 4, true, .01, 2, "W"}, 0x5d: {"current", 2, true, .001, 3, "A"}, 0x5e: {"direction", 2, false, .01, 2, "°"},
	0x5f: {"precipitation", 2, false, .1, 1, "mm"}, 0x60: {"channel", 1, false, 1, 0, ""}, 0x61: {"rotational speed", 2, false, 1, 0, "rpm"},
	0x62: {"speed", 4, true, 1e-6, 6, "m/s"}, 0x63: {"acceleration", 4, true, 1e-6, 6, "m/s²"}, 0x64: {"light level", 1, false, 1, 0, ""},
	0x65: {"settings revision", 1, false, 1, 0, ""}, 0xf0: {"device type", 2, false, 0, 0, ""}, 0xf1: {"firmware", 4, false, 0, 0, ""},
	0xf2: {"firmware", 3, false, 0, 0, ""},
}

var (
	buttons  = map[byte]string{0: "none", 1: "press", 2: "double press", 3: "triple press", 4: "long press", 5: "long double press", 6: "long triple press", 0x80: "hold", 0x81: "release"}
	commands = map[byte]string{0: "off", 1: "on", 2: "toggle", 3: "step up", 4: "step down"}
	turns    = map[byte]string{0: "none", 1: "left", 2: "right"}
)

// bthome decodes BTHome version 2. What comes behind an object that is not known cannot be read, and is given as it is.
func bthome(data []byte) string {
	const version, encrypted = 2, 1
	if len(data) == 0 || data[0]>>5 != version {
		return undecoded("BTHome", data)
	}
	if data[0]&encrypted != 0 {
		return undecoded("BTHome, encrypted", data[1:])
	}
	var r readings
	rest := data[1:]
	for len(rest) > 0 {
		n := r.object(rest)
		if n == 0 {
			r = append(r, undecoded("and", rest))
			break
		}
		rest = rest[n:]
	}
	return r.of("BTHome")
}

// object reads one object and gives its length with its number; 0 if it is unknown or cut off.
func (r *readings) object(data []byte) int {
	id, v := data[0], data[1:]
	if b, ok := binaries[id]; ok && len(v) >= 1 && v[0] <= 1 {
		*r = append(*r, b[0]+" "+b[1+v[0]])
		return 2
	}
	o, ok := objects[id]
	if !ok {
		return 0
	}
	size, head := o.size, 1
	if size == 0 && len(v) > 0 {
		size, head, v = int(v[0]), 2, v[1:]
	}
	if size == 0 && o.size != 0 || size > len(v) || head == 1 && o.size == 0 {
		return 0
	}
	v = v[:size]
	if o.factor == 0 {
		*r = append(*r, o.name+" "+special(id, v))
		return head + size
	}
	var n int64
	for i := range v {
		n |= int64(v[i]) << (8 * i)
	}
	if o.signed {
		shift := 64 - 8*size
		n = n << shift >> shift
	}
	r.add(o.name, float64(n)*o.factor, o.decimals, o.unit)
	return head + size
}

// special reads the objects that are no numbers.
func special(id byte, v []byte) string {
	word := func(words map[byte]string, b byte) string {
		if w := words[b]; w != "" {
			return w
		}
		return fmt.Sprintf("0x%02x", b)
	}
	switch id {
	case 0x3a:
		return word(buttons, v[0])
	case 0x3b:
		return word(commands, v[0])
	case 0x3c:
		return fmt.Sprintf("%s %d", word(turns, v[0]), v[1])
	case 0x50:
		return time.Unix(int64(v[0])|int64(v[1])<<8|int64(v[2])<<16|int64(v[3])<<24, 0).UTC().Format(time.RFC3339)
	case 0x53:
		return fmt.Sprintf("%q", v)
	case 0xf0:
		return fmt.Sprintf("0x%04x", int(v[0])|int(v[1])<<8)
	case 0xf1:
		return fmt.Sprintf("%d.%d.%d.%d", v[3], v[2], v[1], v[0])
	case 0xf2:
		return fmt.Sprintf("%d.%d.%d", v[2], v[1], v[0])
	}
	return undecoded("", v)
}
