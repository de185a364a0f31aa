package att

import (
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
)

// FuzzATT feeds a Server whatever a host may send, with answers, notifications and changes of the database in between,
// and checks the rules of ATT that hold always: one answer for each request, no PDU longer than the MTU, one indication
// at a time, nothing after the end.
func FuzzATT(f *testing.F) {
	for _, s := range []string{"03020502", "070801 00ffff0328", "030a0300fd050c03000100fd", "06120d000100 fdfc", "0516030000000102 1801fd",
		"06 1217000200 fd fb fb 01 1e", "ff 03 0a0300 fd"} {
		f.Add(unhex(f, s))
	}
	errs := []error{nil, nil, nil, ble.ATTEncryption, ble.ErrTimeout, ble.ErrNotConnected, errors.New("other")}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := newRig(t, Seen{Services: []ble.SeenService{{Handle: 10, Last: 14}}, Changes: len(in)%2 == 0})
		r.manual = true
		n := 0
		r.answers = func(op ble.Operation) ([]byte, error) {
			n++
			return ramp(n * 37 % 600), errs[n%len(errs)]
		}
		if len(in)%3 != 0 {
			r.s.Resolved(database(append(plain(), gattServiceAt(40))...), 60)
		}
		requests, answers, indications, confirmations := 0, 0, 0, 0
		for len(in) > 0 {
			size := int(in[0])
			in = in[1:]
			switch size {
			case 0xff:
				r.s.Resolved(database(append(plain(), gattServiceAt(40))...), 200)
				continue
			case 0xfe:
				r.s.DatabaseChanged(database(plain()...))
				continue
			case 0xfd:
				r.run()
				continue
			case 0xfc:
				r.pass(6 * time.Second)
				continue
			case 0xfb:
				r.s.Notified(22, ramp(len(in)))
				r.s.Notified(12, ramp(len(in)))
				continue
			case 0xfa:
				r.s.Close()
				continue
			}
			size = min(size, len(in))
			pdu := in[:size]
			in = in[size:]
			if size > 0 && !r.s.closed {
				switch {
				case pdu[0] == ble.ATTOpConfirmation:
					confirmations++
				case pdu[0]&ble.ATTCommand == 0 && !isResponse(pdu[0]):
					requests++
				}
			}
			before, closed := len(r.sent), r.s.closed
			r.s.Receive(pdu, func() { r.taken++ })
			if closed && len(r.sent) != before {
				t.Fatal("sent after its end")
			}
		}
		for _, s := range r.sent {
			pdu, _ := hex.DecodeString(s)
			switch {
			case len(pdu) > 200:
				t.Fatalf("sent %d bytes", len(pdu))
			case pdu[0] == ble.ATTOpIndication:
				indications++
			case pdu[0] == ble.ATTOpNotification:
			default:
				answers++
			}
		}
		if answers > requests {
			t.Fatalf("%d answers to %d requests: %q", answers, requests, r.sent)
		}
		if indications > confirmations+1 {
			t.Fatalf("%d indications, %d confirmed", indications, confirmations)
		}
		if len(r.ended) > 1 {
			t.Fatalf("ended %d times", len(r.ended))
		}
		if s := r.s; len(s.prepared) > maxParts || len(s.indication.waiting) > maxWaiting || len(s.held) > maxHeld+1 || s.commands > maxCommands {
			t.Fatal("a bound is exceeded")
		}
	})
}

// gattServiceAt is a GATT service with Service Changed.
func gattServiceAt(h uint16) ble.Service {
	return service(h, 0x1801, char(h+2, 0x2a05, ble.PropIndicate))
}

// FuzzTable lays out whatever a damaged cache may hold: handles ascend, and each belongs to one service.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 3, 1, 0, 5, 2})
	f.Fuzz(func(t *testing.T, in []byte) {
		db := &ble.Database{}
		for ; len(in) >= 3; in = in[3:] {
			h := uint16(in[1])<<8 | uint16(in[2])
			n := len(db.Services)
			switch {
			case in[0]%3 == 0 || n == 0:
				db.Services = append(db.Services, service(h, uint16(in[0])))
			case in[0]%3 == 1 || len(db.Services[n-1].Characteristics) == 0:
				s := &db.Services[n-1]
				s.Characteristics = append(s.Characteristics, ble.Characteristic{ValueHandle: h, UUID: ble.UUID32(uint32(h) << 8)})
			default:
				cs := db.Services[n-1].Characteristics
				c := &cs[len(cs)-1]
				c.Descriptors = append(c.Descriptors, ble.Descriptor{Handle: h, UUID: ble.UUIDCCCD})
			}
		}
		table := newTable(db)
		last, end := uint16(0), uint16(0)
		for _, a := range table.attributes {
			if a.handle <= last {
				t.Fatalf("handle %d after %d", a.handle, last)
			}
			last = a.handle
			if a.uuid == typePrimary && a.known() {
				if a.handle <= end || a.end < a.handle {
					t.Fatalf("service %d…%d after one to %d", a.handle, a.end, end)
				}
				end = a.end
			} else if a.handle > end {
				t.Fatalf("attribute %d outside of its service, which ends at %d", a.handle, end)
			}
		}
		if len(table.within(1, 0xffff)) != len(table.attributes) || len(table.within(5, 4)) != 0 {
			t.Fatal("not all are within everything")
		}
	})
}
