package gatt

import (
	"cmp"
	"fmt"
	"slices"

	"bluez-esphome/internal/ble"
)

const lastHandle = 0xffff

// buildDatabase makes a database of what a proxy streamed (ESPHome native API, message 71). It is sorted,
// every handle occurs once, and an attribute lies within its service and its characteristic; what does not
// fit, or has no UUID, is dropped and named in dropped. Of two entries at one handle that name different UUIDs none is
// kept: a value would be given under one that is not its own. EndHandle and a characteristic's declaration handle,
// which the wire does not carry, are derived: a service goes as far as the next one, and a declaration immediately
// precedes the value, as Bluetooth Core, Vol 3 Part G, 3.3 has it.
func buildDatabase(in []ble.Service) (db *ble.Database, dropped []string) {
	services := slices.Clone(in)
	slices.SortStableFunc(services, func(a, b ble.Service) int { return cmp.Compare(a.Handle, b.Handle) })
	drop := func(format string, args ...any) {
		if len(dropped) < 16 {
			dropped = append(dropped, fmt.Sprintf(format, args...))
		}
	}
	kept := services[:0]
	for _, s := range services {
		switch {
		case s.Handle == 0:
			drop("service %s: its handle is not from 1 to 0xffff", s.UUID)
		case len(kept) > 0 && kept[len(kept)-1].Handle == s.Handle:
			if kept[len(kept)-1].UUID != s.UUID {
				drop("a second service at handle 0x%04x", s.Handle)
			}
		case len(kept) >= ble.MaxServices:
			drop("service at handle 0x%04x: too many", s.Handle)
		default:
			kept = append(kept, s)
		}
	}
	db = &ble.Database{Services: make([]ble.Service, 0, len(kept))}
	budget := ble.MaxAttributes
	for i, s := range kept {
		end := uint16(lastHandle)
		if i+1 < len(kept) {
			end = kept[i+1].Handle - 1
		}
		if s.UUID == (ble.UUID{}) {
			drop("service at handle 0x%04x without a UUID", s.Handle)
			continue
		}
		buildService(&s, end, &budget, drop)
		s.EndHandle = end
		db.Services = append(db.Services, s)
	}
	return db, dropped
}

// buildService cleans the characteristics of s, whose attributes lie in (s.Handle, end].
func buildService(s *ble.Service, end uint16, budget *int, drop func(string, ...any)) {
	chars := slices.Clone(s.Characteristics)
	slices.SortStableFunc(chars, func(a, b ble.Characteristic) int { return cmp.Compare(a.ValueHandle, b.ValueHandle) })
	ambiguous := make(map[uint16]bool)
	for i := 1; i < len(chars); i++ {
		if h := chars[i].ValueHandle; h == chars[i-1].ValueHandle && chars[i].UUID != chars[i-1].UUID {
			ambiguous[h] = true
		}
	}
	n := len(chars)
	chars = slices.CompactFunc(chars, func(a, b ble.Characteristic) bool { return a.ValueHandle == b.ValueHandle && a.ValueHandle != 0 })
	if len(chars) < n {
		drop("%d characteristics of service 0x%04x at the handle of another", n-len(chars), s.Handle)
	}
	s.Characteristics = nil
	last := s.Handle
	for i, c := range chars {
		switch {
		case c.ValueHandle == 0:
			drop("characteristic %s: its handle is not from 1 to 0xffff", c.UUID)
			continue
		case c.UUID == (ble.UUID{}):
			drop("characteristic at handle 0x%04x without a UUID", c.ValueHandle)
			continue
		case ambiguous[c.ValueHandle]:
			drop("characteristic at handle 0x%04x: two UUIDs", c.ValueHandle)
			continue
		}
		// The declaration needs a handle of its own between what precedes and the value.
		if c.ValueHandle <= s.Handle+1 && s.Handle < lastHandle || c.ValueHandle > end {
			drop("characteristic at handle 0x%04x outside of its service", c.ValueHandle)
			continue
		}
		if c.ValueHandle-1 <= last {
			drop("characteristic at handle 0x%04x overlaps another attribute", c.ValueHandle)
			continue
		}
		*budget -= 2
		if *budget < 0 {
			drop("characteristic at handle 0x%04x: too many", c.ValueHandle)
			continue
		}
		c.Handle = c.ValueHandle - 1
		bound := end
		if j := nextCharacteristic(chars, i); j < len(chars) && chars[j].ValueHandle <= end {
			bound = chars[j].ValueHandle - 2
		}
		last = buildDescriptors(&c, bound, budget, drop)
		s.Characteristics = append(s.Characteristics, c)
	}
}

// nextCharacteristic is the index of the next characteristic that has room for a declaration.
func nextCharacteristic(chars []ble.Characteristic, i int) int {
	for j := i + 1; j < len(chars); j++ {
		if chars[j].ValueHandle > chars[i].ValueHandle+1 && chars[i].ValueHandle < lastHandle-1 {
			return j
		}
	}
	return len(chars)
}

// buildDescriptors cleans the descriptors of c, which lie in (c.ValueHandle, end], and returns the last
// handle in use.
func buildDescriptors(c *ble.Characteristic, end uint16, budget *int, drop func(string, ...any)) uint16 {
	in := slices.Clone(c.Descriptors)
	slices.SortStableFunc(in, func(a, b ble.Descriptor) int { return cmp.Compare(a.Handle, b.Handle) })
	c.Descriptors = nil
	last := c.ValueHandle
	for i, d := range in {
		switch {
		case d.Handle == 0:
			drop("descriptor %s: its handle is not from 1 to 0xffff", d.UUID)
		case d.UUID == (ble.UUID{}):
			drop("descriptor at handle 0x%04x without a UUID", d.Handle)
		case i > 0 && in[i-1].Handle == d.Handle && in[i-1].UUID != d.UUID, i+1 < len(in) && in[i+1].Handle == d.Handle && in[i+1].UUID != d.UUID:
			drop("descriptor at handle 0x%04x: two UUIDs", d.Handle)
		case d.Handle <= c.ValueHandle || d.Handle > end:
			drop("descriptor at handle 0x%04x outside of its characteristic", d.Handle)
		case d.Handle <= last:
			drop("a second descriptor at handle 0x%04x", d.Handle)
		default:
			*budget--
			if *budget < 0 {
				drop("descriptor at handle 0x%04x: too many", d.Handle)
				continue
			}
			c.Descriptors = append(c.Descriptors, d)
			last = d.Handle
		}
	}
	return last
}
