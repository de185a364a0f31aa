package att

import (
	"fmt"
	"testing"

	"bluez-esphome/internal/ble"

	"pgregory.net/rapid"
)

// gattService is a GATT service with Service Changed at 3, its configuration at 4.
func gattService() ble.Service { return gattServiceAt(1) }

// discover has the host ask for all characteristics.
func (r *rig) discover() {
	r.t.Helper()
	for from := uint16(1); ; {
		r.sent = nil
		r.host(fmt.Sprintf("08%02x%02xffff0328", byte(from), byte(from>>8)))
		pdu := unhex(r.t, r.sent[0])
		if pdu[0] == ble.ATTOpError {
			r.sent = r.sent[1:]
			return
		}
		size := int(pdu[1])
		from = le(pdu[len(pdu)-size:]) + 1
	}
}

// again is another link of the same host.
func (r *rig) again(services ...ble.Service) *rig {
	n := newRig(r.t, r.seen)
	n.s.Resolved(database(services...), 50)
	return n
}

// TestHandleOfAnotherDatabase: a host that uses handles of an earlier link is refused where they mean another
// characteristic now, until it was given the declarations.
func TestHandleOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	const notifies = ble.PropRead | ble.PropNotify
	name := service(1, 0x1800, char(3, 0x2a00, ble.PropRead))
	before := []ble.Service{name, service(10, 0x180f, char(12, 0x2a19, notifies), char(15, 0x2a1b, ble.PropRead))}
	after := []ble.Service{name, service(10, 0x180f, char(12, 0x2a1b, notifies), char(15, 0x2a19, ble.PropRead))}

	r := newRig(t, Seen{})
	r.s.Resolved(database(before...), 50)
	r.discover()
	r = r.again(before...) // the same: nothing is refused
	r.exchange("0a0c00", "0b")
	r = r.again(after...)
	r.exchange("0a0300", "0b") // its service is as it was
	r.asked = nil
	r.exchange("0a0c00", "010a0c0001")
	r.exchange("0c0c000100", "010c0c0001")
	r.exchange("120c0001", "01120c0001")
	r.exchange("160c00000001", "01160c0001")
	r.exchange("120d000100", "01120d0001")
	r.exchange("0a0f00", "010a0f0001")
	r.exchange("0e0c000300", "010e0c0001")
	r.host("520c0001")
	r.ask()
	r.exchange("080100ffff192a", "09020f00") // by UUID it cannot mean another
	r.exchange("080a000b000328", "09070b00"+"120c001b2a")
	r.exchange("0a0c00", "0b")
	r.exchange("120d000100", "13")
	r.exchange("0a0f00", "010a0f0001") // that one it was not given yet
	r = r.again(after...)
	r.exchange("0a0f00", "010a0f0001") // on the next link neither
	r.discover()
	r.exchange("0a0f00", "0b")
	r = r.again(after...)
	r.exchange("0a0f00", "0b")
	r = r.again() // nothing there at all
	r.exchange("0a0f00", "010a0f0001")

	// A host with robust caching is told that it is out of sync, as the peripheral would.
	features := service(20, 0x1801, char(22, 0x2b29, ble.PropRead|ble.PropWrite))
	r = newRig(t, Seen{})
	r.s.Resolved(database(append(before, features)...), 50)
	r.discover()
	r = r.again(append(after, features)...)
	r.exchange("12160001", "13")
	r.exchange("0a0c00", "010a0c0012")
}

// TestServiceChangedLater: a host that enabled it hears, right after its first answer, that the database is another one
// than on its last link; and does not hear it again.
func TestServiceChangedLater(t *testing.T) {
	t.Parallel()
	battery, heart := service(10, 0x180f, char(12, 0x2a19, ble.PropRead)), service(10, 0x180d, char(12, 0x2a37, ble.PropRead))
	r := newRig(t, Seen{})
	r.s.Resolved(database(gattService(), battery), 50)
	r.discover()
	r = r.again(gattService(), heart)
	r.exchange("020502", "033200") // it does not want to hear of it
	r = r.again(gattService(), battery)
	r.exchange("1204000200", "13")
	more := service(20, 0x180f, char(22, 0x2a19, ble.PropRead))
	for _, changed := range [][]ble.Service{
		{gattService(), heart}, {gattService()}, {gattService(), heart}, {gattService(), heart, more},
	} {
		r = r.again(changed...)
		r.exchange("020502", "033200", "1d03000100ffff")
		r.host("1e")
		r.exchange("0a0400", "0b")
		r.discover()
		r = r.again(changed...)
		r.exchange("020502", "033200")
	}
	r = r.again(battery) // nothing to tell it by
	r.exchange("020502", "033200")
}

// TestServiceChangedNow: the database changes while the link is up. Who wants to hear of it does; who does not has to
// come back.
func TestServiceChangedNow(t *testing.T) {
	t.Parallel()
	const notifies = ble.PropRead | ble.PropNotify
	battery, heart := service(10, 0x180f, char(12, 0x2a19, notifies)), service(10, 0x180d, char(12, 0x2a37, notifies))
	start := func() *rig {
		r := newRig(t, Seen{})
		r.s.Resolved(database(gattService(), battery), 50)
		r.discover()
		r.exchange("120d000100", "13")
		return r
	}
	r := start()
	r.s.DatabaseChanged(database(gattService(), heart))
	if r.want(); len(r.ended) != 1 {
		t.Fatalf("ended %x", r.ended)
	}

	r = start()
	r.exchange("1204000200", "13")
	r.s.Notified(3, []byte{1, 0, 0xff, 0xff}) // not before the new one is known
	r.want()
	r.s.DatabaseChanged(database(gattService(), heart))
	r.want("1d03000100ffff")
	r.s.Notified(12, []byte{1}) // was subscribed as another
	r.exchange("0a0c00", "010a0c0001")
	r.host("1e")
	r.discover()
	r.exchange("0a0c00", "0b")
	r.s.DatabaseChanged(database(gattService(), heart, service(20, 0x1810)))
	r.want() // of a service without characteristics nobody has a use

	// While a request is pending its answer comes first.
	r = start()
	r.exchange("1204000200", "13")
	r.manual = true
	r.host("0a0300")
	r.s.DatabaseChanged(database(gattService(), heart))
	r.want()
	r.run()
	r.want("0b", "1d03000100ffff")

	// A host that was told nothing yet needs not hear of it.
	r = newRig(t, Seen{})
	r.s.Resolved(database(battery), 50)
	r.s.DatabaseChanged(database(heart))
	if len(r.ended) != 0 {
		t.Error("ended")
	}
	r.exchange("0a0c00", "0b")
}

// TestNeverAnother: whatever databases a peripheral has had, and whatever part of them a host has discovered, a handle
// is never answered for a characteristic of another UUID than the host was told last.
func TestNeverAnother(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		knows := map[uint16]uint16{} // value handle: the UUID that the host was told last
		seen := Seen{}
		for range rapid.IntRange(1, 6).Draw(rt, "links") {
			db := drawDatabase(rt)
			r := newRig(t, seen)
			r.s.Resolved(db, 23)
			for range rapid.IntRange(0, 12).Draw(rt, "requests") {
				r.sent, r.asked = nil, nil
				if len(r.ended) > 0 {
					break
				}
				h := uint16(rapid.IntRange(1, 30).Draw(rt, "handle"))
				switch rapid.IntRange(0, 3).Draw(rt, "what") {
				case 0:
					r.host(fmt.Sprintf("08%02x00ff000328", h))
					pdu := unhex(t, r.sent[0])
					for i := 2; pdu[0] != ble.ATTOpError && i < len(pdu); i += int(pdu[1]) {
						knows[le(pdu[i+3:])] = le(pdu[i+5:])
					}
				case 1:
					r.host(fmt.Sprintf("0a%02x00", h))
				case 2:
					r.host(fmt.Sprintf("12%02x0001", h))
				case 3:
					db = drawDatabase(rt)
					r.s.DatabaseChanged(db)
				}
				if len(r.asked) > 0 {
					is := r.s.table.at(h)
					if was, ok := knows[is.value]; ok && ble.UUID16(was) != r.s.table.at(is.value).uuid {
						rt.Fatalf("handle %d was %04x, is %v, and the host got through", h, was, r.s.table.at(is.value).uuid)
					}
				}
			}
			seen = r.seen
			if len(seen.Services) > maxSeen {
				rt.Fatalf("%d services are remembered", len(seen.Services))
			}
		}
	})
}

func drawDatabase(rt *rapid.T) *ble.Database {
	db := &ble.Database{}
	for h := uint16(1); h < 20; h += uint16(rapid.IntRange(2, 9).Draw(rt, "length")) {
		s := service(h, 0x1800)
		for v := h + 2; v < h+8 && rapid.Bool().Draw(rt, "more"); v += uint16(rapid.IntRange(2, 4).Draw(rt, "next")) {
			uuid := uint16(rapid.IntRange(0x2a00, 0x2a03).Draw(rt, "UUID"))
			s.Characteristics = append(s.Characteristics, char(v, uuid, ble.PropRead|ble.PropNotify))
		}
		db.Services = append(db.Services, s)
	}
	return db
}
