package hci

import (
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const credit1 = "0413050140000100"

// TestACL: frames are put together and cut, and each packet is credited.
func TestACL(t *testing.T) {
	run(t, func(r *rig) {
		r.connect()
		r.ask("0240000600"+"05000400"+"5203", credit1)
		r.ask("0240100200"+"0001", credit1)
		r.ask("0240100100"+"02", credit1)
		r.ask("0240100100"+"ff", credit1)                       // a continuation without a first
		r.ask("0240000900"+"0400"+"0400"+"0102030405", credit1) // longer than it says
		r.ask("0240000400"+"0a020400", credit1)                 // longer than anything here: 522
		r.ask("0240000500"+"0100"+"0600"+"01", credit1)         // SMP
		r.ask("0240000500"+"0100"+"4000"+"01", credit1)         // a channel that is not there
		r.ask("0240000800"+"0400"+"0500"+"0a010000", credit1, "0240200a00"+"06000500"+"010102000000")
		r.ask("0240000400"+"58020400", credit1) // 600 bytes, which all come
		for range 3 {
			r.ask("024010c800"+strings.Repeat("52", 200), credit1)
		}
		if got := strings.Join(r.atts[0].got[1:], " "); got != "5203000102" {
			t.Errorf("the ATT server got %s", got)
		}
		if got := strings.Join(r.smps[0].got, " "); got != "01" {
			t.Errorf("the responder got %s", got)
		}
	})
}

// TestACLOut: a long PDU goes in packets that the host takes.
func TestACLOut(t *testing.T) {
	run(t, func(r *rig) {
		r.connect()
		r.c.mu.Lock()
		r.atts[0].cfg.Send(make([]byte, 300))
		r.c.mu.Unlock()
		got := r.heard()
		if len(got) != 2 || !strings.HasPrefix(got[0], "024020fb002c010400") || !strings.HasPrefix(got[1], "0240103500") {
			t.Errorf("the host got %q", got)
		}
	})
}

// TestCredits: a Write Command is credited when the link took it; a host that does not wait is not listened to for
// ever.
func TestCredits(t *testing.T) {
	run(t, func(r *rig) {
		r.connect()
		r.atts[0].holds = true
		for range maxUncredited + 10 {
			r.say("0240000800" + "0400" + "0400" + "52030001")
		}
		r.want()
		if n := len(r.atts[0].held); n != maxUncredited {
			t.Errorf("%d commands were taken", n)
		}
		r.c.mu.Lock()
		r.atts[0].held[0]()
		r.c.mu.Unlock()
		r.want(credit1)
		r.c.mu.Lock()
		l := r.c.links[0x40]
		l.end(remoteUserEnded)
		r.atts[0].held[1]() // the host takes it back itself
		r.c.mu.Unlock()
		r.want("04050400400013")
	})
}

// TestSplitter: frames survive any cut; noise costs them up to the next Reset.
func TestSplitter(t *testing.T) {
	t.Parallel()
	stream := unhex(t, "01030c00"+"0240000800"+"0400040052030001"+"010c20020101")
	for step := 1; step <= len(stream); step++ {
		var s splitter
		var got []string
		for i := 0; i < len(stream); i += step {
			if s.feed(stream[i:min(i+step, len(stream))], func(p []byte) { got = append(got, hex.EncodeToString(p)) }) {
				t.Error("frames were lost")
			}
		}
		if strings.Join(got, " ") != "01030c00 02400008000400040052030001 010c20020101" {
			t.Fatalf("in steps of %d: %q", step, got)
		}
	}
	var s splitter
	var got []string
	lost := 0
	for _, part := range []string{"01030c00ff", "0102030405", "010c20020101", "ab01", "030c", "00010910", "00"} {
		if s.feed(unhex(t, part), func(p []byte) { got = append(got, hex.EncodeToString(p)) }) {
			lost++
		}
	}
	if lost != 1 || strings.Join(got, " ") != "01030c00 01030c00 01091000" {
		t.Errorf("lost %d times, got %q", lost, got)
	}
}
