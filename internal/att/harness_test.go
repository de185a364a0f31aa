package att

import (
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rig is a Server with everything around it faked: its owner calls it from one goroutine, so that done functions wait
// in a queue.
type rig struct {
	t       testing.TB
	s       *Server
	sent    []string // PDUs for the host, in hex
	ended   []byte   // reasons
	seen    Seen
	taken   int
	asked   []string // operations, as "Read 0003" and "Write 0003 01ff"
	answers func(op ble.Operation) ([]byte, error)
	pending []func()
	manual  bool // done functions wait for run
	timers  []*timer
	now     time.Duration
}

type timer struct {
	at time.Duration
	f  func()
}

func newRig(t testing.TB, seen Seen) *rig {
	r := &rig{t: t, seen: seen}
	r.answers = func(op ble.Operation) ([]byte, error) { return nil, nil }
	r.s = New(Config{
		Peer: 0x00AA01010001, Seen: seen, SetSeen: func(s Seen) { r.seen = s },
		Send: func(pdu []byte) { r.sent = append(r.sent, hex.EncodeToString(pdu)) },
		Do: func(op ble.Operation, done func([]byte, error)) {
			said := op.Kind.String() + " " + hex.EncodeToString([]byte{byte(op.Handle >> 8), byte(op.Handle)})
			if op.Value != nil {
				said += " " + hex.EncodeToString(op.Value)
			}
			r.asked = append(r.asked, said)
			r.pending = append(r.pending, func() { done(r.answers(op)) })
		},
		After: func(d time.Duration, f func()) func() {
			tm := &timer{at: r.now + d, f: f}
			r.timers = append(r.timers, tm)
			return func() { tm.f = func() {} }
		},
		End: func(reason byte) { r.ended = append(r.ended, reason) },
		Log: slog.New(slog.DiscardHandler),
	})
	return r
}

// run runs the done functions that wait.
func (r *rig) run() {
	for len(r.pending) > 0 {
		f := r.pending[0]
		r.pending = r.pending[1:]
		f()
	}
}

// host sends a PDU, and unless the rig is manual the peripheral answers.
func (r *rig) host(pdu string) {
	r.t.Helper()
	b := unhex(r.t, pdu)
	r.s.Receive(b, func() { r.taken++ })
	clear(b) // it is valid only during the call
	if !r.manual {
		r.run()
	}
}

// pass lets time pass.
func (r *rig) pass(d time.Duration) {
	r.now += d
	for i := 0; i < len(r.timers); i++ {
		if tm := r.timers[i]; tm.at <= r.now {
			r.timers = append(r.timers[:i], r.timers[i+1:]...)
			i--
			tm.f()
		}
	}
}

// want checks what was sent since it was last called.
func (r *rig) want(pdus ...string) {
	r.t.Helper()
	for i := range pdus {
		pdus[i] = strings.ReplaceAll(pdus[i], " ", "")
	}
	if got, want := strings.Join(r.sent, " "), strings.Join(pdus, " "); got != want {
		r.t.Fatalf("sent %q, want %q", got, want)
	}
	r.sent = nil
}

// ask checks what was asked of the peripheral since it was last called.
func (r *rig) ask(ops ...string) {
	r.t.Helper()
	if got, want := strings.Join(r.asked, ", "), strings.Join(ops, ", "); got != want {
		r.t.Fatalf("asked %q, want %q", got, want)
	}
	r.asked = nil
}

// exchange sends a PDU and checks the answer.
func (r *rig) exchange(pdu string, want ...string) {
	r.t.Helper()
	r.host(pdu)
	r.want(want...)
}

// char makes a characteristic with a CCCD behind it if it notifies.
func char(valueHandle uint16, uuid uint16, p ble.Properties) ble.Characteristic {
	c := ble.Characteristic{Handle: valueHandle - 1, ValueHandle: valueHandle, UUID: ble.UUID16(uuid), Properties: p}
	if p.Has(ble.PropNotify | ble.PropIndicate) {
		c.Descriptors = []ble.Descriptor{{Handle: valueHandle + 1, UUID: ble.UUIDCCCD}}
	}
	return c
}

func database(services ...ble.Service) *ble.Database { return &ble.Database{Services: services} }

func service(handle uint16, uuid uint16, chars ...ble.Characteristic) ble.Service {
	return ble.Service{Handle: handle, UUID: ble.UUID16(uuid), Characteristics: chars}
}

// resolved is a rig with a database of the services, at MTU mtu towards both sides.
func resolved(t testing.TB, mtu int, services ...ble.Service) *rig {
	r := newRig(t, Seen{})
	r.s.Resolved(database(services...), mtu)
	r.host("02" + hex.EncodeToString([]byte{byte(mtu), byte(mtu >> 8)}))
	r.sent = nil
	return r
}

// goldenDevice is a peripheral of the golden recordings.
type goldenDevice struct {
	ID      string
	Address ble.Address
	MTU     int
	GATT    struct {
		Services []struct {
			Handle          uint16
			UUID            ble.UUID
			Characteristics []struct {
				ValueHandle uint16 `json:"value_handle"`
				UUID        ble.UUID
				Properties  []string
				Value       string
				Security    string
				ReadError   uint8 `json:"read_error"`
				Descriptors []struct {
					Handle uint16
					UUID   ble.UUID
					Value  string
				}
			}
		}
	}
}

var properties = map[string]ble.Properties{
	"broadcast": ble.PropBroadcast, "read": ble.PropRead, "write-without-response": ble.PropWriteWithoutResponse,
	"write": ble.PropWrite, "notify": ble.PropNotify, "indicate": ble.PropIndicate,
	"authenticated-signed-writes": ble.PropSignedWrite, "extended-properties": ble.PropExtended,
}

func golden(t testing.TB) map[ble.Address]goldenDevice {
	t.Helper()
	b, err := os.ReadFile("../proxysim/testdata/golden-peripheral.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Devices []goldenDevice }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	out := make(map[ble.Address]goldenDevice)
	for _, d := range file.Devices {
		out[d.Address] = d
	}
	return out
}

// listed is what a proxy lists of the device.
func (d goldenDevice) listed() *ble.Database {
	db := &ble.Database{}
	for _, s := range d.GATT.Services {
		out := ble.Service{Handle: s.Handle, UUID: s.UUID}
		for _, c := range s.Characteristics {
			oc := ble.Characteristic{ValueHandle: c.ValueHandle, UUID: c.UUID}
			for _, p := range c.Properties {
				oc.Properties |= properties[p]
			}
			for _, desc := range c.Descriptors {
				oc.Descriptors = append(oc.Descriptors, ble.Descriptor{Handle: desc.Handle, UUID: desc.UUID})
			}
			out.Characteristics = append(out.Characteristics, oc)
		}
		db.Services = append(db.Services, out)
	}
	return db
}
