package gatt

import (
	"fmt"
	"reflect"
	"slices"

	"bluez-esphome/internal/ble"
)

// Firmware from 2025.8 to 2026.7 loses a part of the service list when its
// TCP buffer is full and reports it as done all the same.
var (
	truncatesFrom  = ble.Version{Year: 2025, Month: 8}
	truncatesUntil = ble.Version{Year: 2026, Month: 8}
)

// truncates reports whether firmware of that version may cut the service list short. Of a version that cannot be read
// nothing is known to be wrong.
func truncates(version string) bool {
	v, known := ble.ParseVersion(version)
	return known && v.Compare(truncatesFrom) >= 0 && v.Compare(truncatesUntil) < 0
}

var uuidGAP = ble.UUID16(0x1800)

// suspicion says why db looks cut short, or "". expected are services that the peripheral
// advertises; prior is a database that it had before, or nil.
func suspicion(db, prior *ble.Database, expected []ble.UUID, version string) string {
	if len(db.Services) == 0 {
		return "it is empty"
	}
	has := make(map[ble.UUID]bool, len(db.Services))
	gap := uint16(0)
	last := uint16(0)
	for _, s := range db.Services {
		has[s.UUID] = true
		if s.Handle != last+1 && gap == 0 {
			gap = last + 1
		}
		last = lastUsed(&s)
	}
	// Every peripheral has the GAP service (Bluetooth Core, Vol 3 Part C, 12), and most have it first.
	if db.Services[0].Handle != 1 && !has[uuidGAP] {
		return "it does not begin at handle 1 and has no GAP service"
	}
	for _, u := range expected { // many devices advertise what is no service of theirs
		if !has[u] && truncates(version) {
			return fmt.Sprintf("it lacks the advertised service %s", u)
		}
	}
	if prior != nil && truncates(version) { // what other firmware says is what there is
		for _, s := range prior.Services {
			if !has[s.UUID] {
				return fmt.Sprintf("it lacks the service %s, which was there", s.UUID)
			}
		}
	}
	if gap != 0 && truncates(version) {
		return fmt.Sprintf("handles are missing from 0x%04x on", gap)
	}
	return ""
}

// oneMessage is the size in bytes below which a list of services came in one message of the stream, so that
// its end cannot be missing: firmware fills messages of about 1360 bytes with whole services, of which hardly any is
// longer than the rest.
const oneMessage = 512

// wireSize is about how many bytes db takes in the stream (ESPHome native API, message 71).
func wireSize(db *ble.Database) int {
	n := 0
	attribute := func(u ble.UUID) {
		n += 8
		if _, short := u.Short(); !short {
			n += 20
		}
	}
	for i := range db.Services {
		attribute(db.Services[i].UUID)
		for _, c := range db.Services[i].Characteristics {
			attribute(c.UUID)
			for _, d := range c.Descriptors {
				attribute(d.UUID)
			}
		}
	}
	return n
}

// attributes counts what a proxy streams of db.
func attributes(db *ble.Database) int {
	n := len(db.Services)
	for i := range db.Services {
		for _, c := range db.Services[i].Characteristics {
			n += 1 + len(c.Descriptors)
		}
	}
	return n
}

// lastUsed is the last handle of s that an attribute has.
func lastUsed(s *ble.Service) uint16 {
	last := s.Handle
	if n := len(s.Characteristics); n > 0 {
		c := &s.Characteristics[n-1]
		last = c.ValueHandle
		if n := len(c.Descriptors); n > 0 {
			last = c.Descriptors[n-1].Handle
		}
	}
	return last
}

func sameDatabase(a, b *ble.Database) bool {
	return a != nil && b != nil && reflect.DeepEqual(streamed(a), streamed(b))
}

// streamed is what a proxy streams of a database: extended properties are read apart.
func streamed(db *ble.Database) []ble.Service {
	out := slices.Clone(db.Services)
	for i := range out {
		out[i].Characteristics = slices.Clone(out[i].Characteristics)
		for j := range out[i].Characteristics {
			out[i].Characteristics[j].Extended = 0
		}
	}
	return out
}
