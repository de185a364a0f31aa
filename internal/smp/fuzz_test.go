package smp

import (
	"math/rand/v2"
	"testing"

	"bluez-esphome/internal/ble"
)

// FuzzSMP feeds a Responder whatever a host may send, PDUs and encryption, with what the proxy says in between. A host
// is encrypted only with a key that it was given, and only after the proxy paired.
func FuzzSMP(f *testing.F) {
	f.Add([]byte("\x07\x01\x04\x00\x0d\x10\x05\x07\xff\x41\x0c"))
	f.Add([]byte("\x07\x01\x03\x00\x01\x10\x00\x01\xff\x11\x03aaaaaaaaaaaaaaaa\xfe\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		g := newRig(t)
		g.paired = errWait
		g.cfg.Rand = rand.NewChaCha8([32]byte{1}) // an input does the same each time
		g.link()
		succeeded := 0
		for len(in) > 0 {
			n := int(in[0])
			in = in[1:]
			switch n {
			case 0xff, 0xfd: // the proxy says something
				for _, done := range g.take() {
					if n == 0xff {
						succeeded++
						done(nil)
					} else {
						done(&ble.PairError{Reason: 3})
					}
				}
				continue
			case 0xfe:
				var key Key
				copy(key.LTK[:], in)
				g.encrypt(key)
				continue
			case 0xfc:
				g.r.Close()
				g.sent = nil
				continue
			}
			n = min(n, len(in))
			before := len(g.sent)
			g.host(in[:n]...)
			if g.r.closed && len(g.sent) != before {
				t.Fatal("sent after its end")
			}
			in = in[n:]
		}
		for _, s := range g.sent {
			if s == "status 00" && succeeded == 0 {
				t.Fatal("encrypted without the proxy")
			}
			if s[:2] == "02" && succeeded == 0 {
				t.Fatal("answered without the proxy")
			}
		}
	})
}
