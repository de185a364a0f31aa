package load

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"bluez-esphome/internal/apiwire"
)

// The mixes of payloads.
const (
	// MixHome is the mix of a home. It repeats three iBeacons, two devices with a name, a BTHome sensor whose payload
	// changes, a RuuviTag, an Eddystone beacon, a device with a scan response and a 128-bit UUID, and a PC.
	MixHome = "home"
	// MixSensors has only RuuviTags, whose manufacturer data and RSSI change every time.
	MixSensors = "sensors"
)

// counterSize is the size of the part of a payload that changes, in bytes.
const counterSize = 4

// The address of the connectable device, and its characteristics.
const (
	Address     = "C0:DE:00:00:00:01"
	ServiceUUID = "b1e50001-6d5e-4c1b-9e3a-1f0c2d3e4f50"
	ValueUUID   = "b1e50002-6d5e-4c1b-9e3a-1f0c2d3e4f50" // read: 20 bytes
	TicksUUID   = "b1e50004-6d5e-4c1b-9e3a-1f0c2d3e4f50" // notify
)

const address uint64 = 0xC0DE00000001

// payload gives the advertising data of a device and the place of its counter, -1 if it has none.
func payload(mix string, device int) (data []byte, counter int) {
	d := uint16(device)
	ad := func(kind byte, body ...byte) { data = append(append(data, byte(len(body)+1), kind), body...) }
	u16 := func(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
	cat := func(parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	}
	ruuvi := func() {
		ad(0x01, 0x06)
		ad(0xff, cat([]byte{0x99, 0x04, 0x05, 0x12, 0xfc, 0x53, 0x94, 0xc3, 0x7c, 0x00, 0x04, 0xff, 0xfc, 0x04, 0x0c, 0xac, 0x36, 0x42, 0x00, 0xcd, 0xcb, 0xb8, 0x33}, u16(d))...)
	}
	if mix == MixSensors {
		ruuvi()
		return data, 3 + 2 + 3 // in the manufacturer data, behind company and format
	}
	switch device % 10 {
	case 0, 1, 2: // iBeacon
		ad(0x01, 0x06)
		ad(0xff, cat([]byte{0x4c, 0x00, 0x02, 0x15, 0xe2, 0xc5, 0x6d, 0xb5, 0xdf, 0xfb, 0x48, 0xd2, 0xb0, 0x60, 0xd0, 0xf5, 0xa7, 0x10, 0x96, 0xe0}, u16(d), u16(d), []byte{0xc5})...)
	case 3, 4: // a name
		ad(0x01, 0x06)
		ad(0x09, []byte(fmt.Sprintf("Device %05d", device))...)
		ad(0x0a, 0x04)
		ad(0x03, 0x0f, 0x18)
	case 5: // BTHome: packet id, temperature, humidity, battery
		ad(0x01, 0x06)
		counter = len(data) + 4 + 1
		ad(0x16, 0xd2, 0xfc, 0x40, 0, 0, 0, 0, 0x02, 0xca, 0x09, 0x03, 0xbf, 0x13, 0x01, 0x61)
		ad(0x09, []byte(fmt.Sprintf("s%05d", device))...)
		return data, counter
	case 6:
		ruuvi()
	case 7: // Eddystone UID
		ad(0x01, 0x06)
		ad(0x03, 0xaa, 0xfe)
		ad(0x16, cat([]byte{0xaa, 0xfe, 0x00, 0xe7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, u16(d), u16(d), u16(d), []byte{0, 0})...)
	case 8: // a 128-bit UUID, and in the scan response a name
		ad(0x01, 0x06)
		ad(0x07, 0x50, 0x4f, 0x3e, 0x2d, 0x1c, 0x0f, 0x3a, 0x9e, 0x1b, 0x4c, 0x5e, 0x6d, 0x01, 0x00, 0xe5, 0xb1)
		ad(0x09, []byte(fmt.Sprintf("Gadget with a name %05d", device))...)
	case 9: // Microsoft's beacon of a PC
		ad(0x01, 0x1a)
		ad(0xff, cat([]byte{0x06, 0x00, 0x01, 0x09, 0x20, 0x02, 0x45, 0xad, 0x2f, 0x33, 0x81, 0x08, 0x33, 0x10, 0x2a, 0x5c, 0x8e, 0x4b, 0x1d, 0x7f, 0x90, 0x61, 0x0d, 0xaa, 0x2e}, u16(d))...)
	}
	return data, -1
}

func deviceAddress(s *Spec, device int) uint64 {
	if s.GATT && device == 0 {
		return address
	}
	device += s.First
	// The addresses are spread as static random addresses are, and all differ.
	x := uint64(device+1) * 0x9e3779b97f4a7c15
	return 0xC00000000000 | x>>24&0x3fffff<<24 | uint64(device)
}

// heard is the number of devices that each proxy hears.
func (s *Spec) heard() int {
	if s.Hears > 0 {
		return min(s.Hears, s.Devices)
	}
	return s.Devices
}

// frame is one message 93, encoded.
type frame struct {
	payload  []byte
	counters []int // the places of counters
}

// passes is the number of rounds of all devices that are encoded beforehand. Each has its own signal strengths. They
// are normally distributed around a mean for each device and proxy, with a deviation of 4 dB, as where people walk
// about.
const passes = 8

// stream gives the frames of one proxy: passes rounds of all devices.
func stream(s *Spec, proxy int) (frames []frame) {
	rnd := rand.New(rand.NewPCG(uint64(proxy), 42))
	base := make([]int, s.Devices)
	for i := range base {
		base[i] = -88 + rnd.IntN(40)
	}
	// Each proxy begins with another device.
	first := proxy * s.Devices / s.Proxies
	rounds := passes
	if s.Proxies*s.heard() > 100_000 {
		rounds = 2
	}
	var (
		f    frame
		n    int
		flat = make([]byte, 0, 64*s.Frame)
	)
	for pass := range rounds {
		for i := range s.heard() {
			d := (first + i) % s.Devices
			data, counter := payload(s.Mix, d)
			rssi := base[d] + int(max(-12, min(12, math.Round(4*rnd.NormFloat64()))))
			if s.Mix == MixSensors {
				rssi = -50 - 20*(pass%2)
			}
			flat = apiwire.AppendRawAdvert(flat, apiwire.RawAdvert{Address: deviceAddress(s, d), RSSI: int32(rssi), AddressType: 1, Data: data})
			if counter >= 0 {
				f.counters = append(f.counters, len(flat)-len(data)+counter)
			}
			n++
			if n == s.Frame || i == s.heard()-1 {
				f.payload = append([]byte(nil), flat...)
				frames = append(frames, f)
				f, n, flat = frame{}, 0, flat[:0]
			}
		}
	}
	return frames
}

// set writes the counter into the payloads that change.
func (f *frame) set(counter uint32) {
	for _, at := range f.counters {
		binary.LittleEndian.PutUint32(f.payload[at:at+counterSize], counter)
	}
}
