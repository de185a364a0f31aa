package hci

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"bluez-esphome/internal/att"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/links/linkstest"
	"bluez-esphome/internal/smp"
)

// FuzzHost: whatever a host sends, the controller keeps its bounds: packets within claims, one answer to each command.
func FuzzHost(f *testing.F) {
	f.Add([]byte("\x01\x03\x0c\x00"))
	for _, c := range []string{createConnection, scanOn, "0240000800" + "0400040052030001", "01060403400013", "0119201c40000000000000000000000031f3cf706b005ecccb519a7ac0d6b325"} {
		f.Add(unhex(f, c))
		f.Add(unhex(f, createConnection+c))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l := linkstest.NewLinks(t)
		c := New(Config{
			Address: 0x02e550000001, Transport: make(pipes), Air: &fakeAir{last: map[ble.Address]heardAt{}, linked: map[ble.Address]bool{device: true}},
			Store: fakeStore{map[ble.Address]smp.Key{}, map[ble.Address]att.Seen{}}, Log: slog.New(slog.DiscardHandler),
			Links:  func(links.Events) links.Links { return l },
			NewATT: func(cfg att.Config) ATT { return &fakeATT{cfg: cfg} }, NewSMP: func(cfg smp.Config) Security { return &fakeSMP{cfg: cfg} },
			WishChanged: func() {},
		})
		out := c.begin("fuzz", func(func(context.Context)) {})
		defer c.finish()
		commands := 0
		var s splitter
		s.feed(data, func(p []byte) {
			if len(p) > maxFrame {
				t.Fatalf("a packet of %d bytes", len(p))
			}
			if p[0] == typeCommand {
				commands++
			}
			c.packet(p)
			if a := c.attempt; a != nil && a.link != nil { // the proxy is quick
				c.mu.Lock()
				a.answered(a.link, nil)
				c.mu.Unlock()
			}
		})
		packets, alive := out.take()
		answers := 0
		for _, p := range packets {
			switch {
			case p[0] == typeEvent && len(p) == 3+int(p[2]):
				if p[1] == eventCommandComplete || p[1] == eventCommandStatus {
					answers++
				}
			case p[0] == typeACL && len(p) == 5+int(u16(p[3:])) && len(p) <= 5+aclLength:
			default:
				t.Fatalf("a malformed packet % x", p)
			}
		}
		if alive && answers != commands {
			t.Fatalf("%d answers to %d commands", answers, commands)
		}
	})
}

// FuzzAssembly: what comes out is a frame of the length that it says, made of the data that came in.
func FuzzAssembly(f *testing.F) {
	f.Add([]byte("\x00\x08\x04\x00\x04\x00\x52\x03\x00\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var a assembly
		var all []byte
		for len(data) >= 2 {
			n := min(int(data[1]), len(data)-2)
			part := data[2 : 2+n]
			all = append(all, part...)
			if frame := a.add(data[0]&3, part); frame != nil {
				if len(frame) != 4+int(u16(frame)) || len(frame) > 4+maxL2CAP || !bytes.Contains(all, frame) {
					t.Fatalf("frame % x of % x", frame, all)
				}
			}
			if cap(a.buf) > 4096 {
				t.Fatalf("a buffer of %d", cap(a.buf))
			}
			data = data[2+n:]
		}
	})
}
