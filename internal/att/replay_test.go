package att

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"bluez-esphome/internal/ble"
)

// scenario is one of what was recorded between real hosts and the prototype (internal/testdata/hci-vectors.json).
type scenario struct {
	Name, Host string
	Steps      [][3]any
}

func scenarios(t testing.TB) []scenario {
	t.Helper()
	b, err := os.ReadFile("../testdata/hci-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Scenarios []scenario }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	return file.Scenarios
}

// frames puts L2CAP frames together, each direction of each link its own.
type frames map[string][]byte

// add gives the link's handle, the channel and the payload of a frame that the packet completes.
func (f frames) add(from string, acl []byte) (handle, cid uint16, payload []byte) {
	handle = binary.LittleEndian.Uint16(acl[1:])
	first := handle>>12&3 != 1
	handle &= 0xfff
	key := fmt.Sprint(from, handle)
	if first {
		f[key] = nil
	}
	f[key] = append(f[key], acl[5:]...)
	b := f[key]
	if len(b) < 4 || len(b) < 4+int(binary.LittleEndian.Uint16(b)) {
		return handle, 0, nil
	}
	return handle, binary.LittleEndian.Uint16(b[2:]), b[4:]
}

// replayed is one link of a scenario.
type replayed struct {
	*rig
	begun     bool // the host sent something
	encrypted bool
	values    map[uint16][]byte
}

// answer is what the golden peripheral says.
func (l *replayed) answer(d goldenDevice, op ble.Operation) ([]byte, error) {
	for _, s := range d.GATT.Services {
		for _, c := range s.Characteristics {
			if c.ValueHandle != op.Handle {
				continue
			}
			switch {
			case c.Security == "encryption" && !l.encrypted:
				return nil, ble.ATTEncryption
			case c.Security == "authentication":
				return nil, ble.ATTAuthentication
			case c.ReadError != 0 && op.Kind.Reads():
				return nil, ble.ATTError(c.ReadError)
			}
		}
	}
	if op.Kind.Reads() {
		return l.values[op.Handle], nil
	}
	l.values[op.Handle] = op.Value
	return nil, nil
}

func (d goldenDevice) values(t testing.TB) map[uint16][]byte {
	values := make(map[uint16][]byte)
	for _, s := range d.GATT.Services {
		for _, c := range s.Characteristics {
			values[c.ValueHandle] = unhex(t, c.Value)
			for _, desc := range c.Descriptors {
				values[desc.Handle] = unhex(t, desc.Value)
			}
		}
	}
	return values
}

// better is what we answer where the prototype could not: a part of a value is written at an offset.
var better = map[string]string{"01182b0007": "19"}

// TestReplay feeds the Server what real hosts sent in every recorded scenario, and compares each of its answers.
func TestReplay(t *testing.T) {
	t.Parallel()
	device := golden(t)[0x00AA01010001]
	exchanged := 0
	for _, sc := range scenarios(t) {
		t.Run(sc.Name+", "+sc.Host, func(t *testing.T) {
			links, parts := map[uint16]*replayed{}, frames{}
			link := func(h uint16) *replayed {
				if links[h] == nil {
					l := &replayed{rig: newRig(t, Seen{}), values: device.values(t)}
					l.answers = func(op ble.Operation) ([]byte, error) { return l.answer(device, op) }
					l.manual = true
					if !strings.HasPrefix(sc.Name, "connected early, ") { // there the list never came
						l.s.Resolved(device.listed(), device.MTU)
					}
					links[h] = l
				}
				return links[h]
			}
			for i, step := range sc.Steps {
				from, text := step[1].(string), step[2].(string)
				if from == "note" {
					continue
				}
				p := unhex(t, text)
				switch {
				case p[0] == 4 && p[1] == 0x08:
					link(binary.LittleEndian.Uint16(p[4:])).encrypted = p[6] == 1
				case p[0] == 4 && p[1] == 0x3e && p[3] == 0x01: // a link begins
					delete(links, binary.LittleEndian.Uint16(p[5:]))
				case p[0] == 2:
					h, cid, pdu := parts.add(from, p)
					if cid != 4 {
						continue
					}
					l := link(h)
					if from == "host" {
						if len(pdu) > 23 || sc.Name == "Service Changed" { // its exchange of MTUs is in an earlier scenario
							l.s.mtu = device.MTU
						}
						l.host(hex.EncodeToString(pdu))
						l.begun = true
						continue
					}
					if sc.Name == "Service Changed" && !l.begun { // it answers what is in an earlier scenario
						continue
					}
					exchanged++
					l.caught(t, i, pdu, device)
				}
			}
			for _, l := range links {
				if len(l.sent) > 0 {
					t.Errorf("sent %q besides", l.sent)
				}
				if len(l.ended) > 0 {
					t.Error("ended a link")
				}
			}
		})
	}
	if exchanged < 800 {
		t.Errorf("only %d answers compared", exchanged)
	}
	t.Logf("hci-vectors.json: %d PDUs of the server as recorded", exchanged)
}

// caught checks that the next PDU is the recorded one.
func (l *replayed) caught(t *testing.T, step int, pdu []byte, d goldenDevice) {
	t.Helper()
	if len(pdu) > 23 && l.s.mtu == ble.MinMTU {
		l.s.mtu = d.MTU
	}
	if pdu[0] == ble.ATTOpNotification || pdu[0] == ble.ATTOpIndication {
		h := le(pdu[1:])
		if h == l.s.table.changed { // the prototype passed on what said that nothing changed
			return
		}
		if l.s.cccds[h] == 0 { // configured in an earlier scenario
			l.s.cccds[h] = map[byte]uint16{ble.ATTOpNotification: bitNotify, ble.ATTOpIndication: bitIndicate}[pdu[0]]
		}
		l.s.Notified(h, pdu[3:])
	} else {
		l.run()
	}
	if len(l.sent) == 0 {
		t.Fatalf("step %d: nothing sent, recorded %x", step, pdu)
	}
	got := l.sent[0]
	l.sent = l.sent[1:]
	if want := hex.EncodeToString(pdu); got != want && better[want] != got {
		t.Errorf("step %d: sent %s, recorded %s", step, got, want)
	}
}
