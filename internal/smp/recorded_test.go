package smp

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"

	"bluez-esphome/internal/ble"
)

// recorded is one link of a scenario: addresses of both sides and the PDUs of channel 6.
type recorded struct {
	host, device Peer
	pdus         map[string][]byte // the last one, by side and code: "host 01"
	key          []byte            // of the last LE Enable Encryption
}

func peerOf(wire []byte, typ byte) Peer {
	var a ble.Address
	for i := range 6 {
		a = a<<8 | ble.Address(wire[5-i])
	}
	return Peer{a, ble.AddressType(typ)}
}

// reader follows the packets of a scenario.
type reader struct {
	random     []byte // LE Set Random Address
	next       recorded
	links      map[uint16]*recorded
	frames     map[string][]byte
	encryption func(*recorded)
	pdu        func(l *recorded, from string, pdu []byte)
}

func (r *reader) packet(from string, p []byte) {
	switch {
	case p[0] == 1 && binary.LittleEndian.Uint16(p[1:]) == 0x2005:
		r.random = p[4:]
	case p[0] == 1 && binary.LittleEndian.Uint16(p[1:]) == 0x200d:
		r.next = recorded{host: vectorHost, device: peerOf(p[10:], p[9]), pdus: map[string][]byte{}}
		if p[16] == 1 {
			r.next.host = peerOf(r.random, 1)
		}
	case p[0] == 4 && p[1] == 0x3e && p[3] == 1:
		l := r.next
		r.links[binary.LittleEndian.Uint16(p[5:])] = &l
	case p[0] == 1 && binary.LittleEndian.Uint16(p[1:]) == 0x2019:
		if l := r.link(binary.LittleEndian.Uint16(p[4:])); l.pdus != nil {
			l.key = p[16:]
			r.encryption(l)
		}
	case p[0] == 2:
		h := binary.LittleEndian.Uint16(p[1:])
		key := fmt.Sprint(from, h&0xfff)
		if h>>12&3 != 1 {
			r.frames[key] = nil
		}
		r.frames[key] = append(r.frames[key], p[5:]...)
		b := r.frames[key]
		if len(b) < 4 || len(b) < 4+int(binary.LittleEndian.Uint16(b)) || binary.LittleEndian.Uint16(b[2:]) != 6 {
			return
		}
		l := r.link(h & 0xfff)
		l.pdus[fmt.Sprintf("%s %02x", from, b[4])] = b[4:]
		r.pdu(l, from, b[4:])
	}
}

// link is that of a handle; one that began in an earlier scenario is between the usual two.
func (r *reader) link(handle uint16) *recorded {
	if r.links[handle] == nil {
		r.links[handle] = &recorded{host: vectorHost, device: vectorDevice, pdus: map[string][]byte{}}
	}
	return r.links[handle]
}

// TestRecordedPairings recomputes what hosts and prototype said in every recorded pairing, from the addresses in the
// HCI commands: all confirm values, and the keys of legacy pairing. Where the prototype distributed what we do, the
// Responder answers the same.
func TestRecordedPairings(t *testing.T) {
	t.Parallel()
	legacy, secure, same := 0, 0, 0
	for _, sc := range readVectors(t).Scenarios {
		t.Run(sc.Name+", "+sc.Host, func(t *testing.T) {
			r := &reader{links: map[uint16]*recorded{}, frames: map[string][]byte{}}
			r.pdu = func(l *recorded, from string, pdu []byte) {
				request, response := l.pdus["host 01"], l.pdus["controller 02"]
				if from == "controller" && pdu[0] == codeResponse && pdu[3]&authSecure == request[3]&authSecure &&
					pdu[5] == 0 && pdu[6]&^keyEncryption == 0 {
					same++
					g := newRig(t)
					g.host(request...)
					g.want(hex.EncodeToString(response))
				}
				if pdu[0] != codeRandom || response[3]&authSecure == 0 || request[3]&authSecure == 0 || from == "host" {
					return
				}
				secure++
				own, host := reversed(l.pdus["controller 0c"][1:33]), reversed(l.pdus["host 0c"][1:33])
				if got, want := f4(own, host, fromWire(pdu[1:]), 0), fromWire(l.pdus["controller 03"][1:]); got != want {
					t.Errorf("confirm value %x, recorded %x", got, want)
				}
			}
			r.encryption = func(l *recorded) {
				request, response := l.pdus["host 01"], l.pdus["controller 02"]
				if request == nil || response[3]&request[3]&authSecure != 0 {
					return
				}
				legacy++
				for _, side := range []string{"host", "controller"} {
					value := fromWire(l.pdus[side+" 04"][1:])
					if got, want := c1(block128{}, value, request, response, l.host, l.device), fromWire(l.pdus[side+" 03"][1:]); got != want {
						t.Errorf("%s's confirm value %x, recorded %x", side, got, want)
					}
				}
				stk := s1(block128{}, fromWire(l.pdus["controller 04"][1:]), fromWire(l.pdus["host 04"][1:]))
				if stk != fromWire(l.key) {
					t.Errorf("STK %x, recorded %x", stk, fromWire(l.key))
				}
				l.pdus = map[string][]byte{}
			}
			for _, step := range sc.Steps {
				if from := step[1].(string); from != "note" {
					r.packet(from, unhex(t, step[2].(string)))
				}
			}
		})
	}
	t.Logf("hci-vectors.json: %d legacy pairings, %d confirm values of Secure Connections, %d Pairing Responses as ours", legacy, secure, same)
	if legacy < 4 || secure < 10 || same < 10 {
		t.Error("fewer than were recorded")
	}
}
