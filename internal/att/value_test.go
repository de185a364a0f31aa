package att

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
)

func ramp(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// TestLongRead: the peripheral is read once, and the host gets one value in pieces.
func TestLongRead(t *testing.T) {
	t.Parallel()
	r := resolved(t, 23, plain()...)
	r.answers = func(ble.Operation) ([]byte, error) { return ramp(60), nil }
	part := func(op string, from, to int) string { return op + hex.EncodeToString(ramp(60)[from:to]) }
	r.exchange("0a0300", part("0b", 0, 22))
	r.answers = func(ble.Operation) ([]byte, error) { return []byte{0xff}, nil } // it changes meanwhile
	r.exchange("0c03001600", part("0d", 22, 44))
	r.exchange("0c03002c00", part("0d", 44, 60))
	r.ask("Read 0003")
	r.exchange("0c03000000", "0dff") // the short answer ended it
	r.ask("Read 0003")
	r.exchange("0c03000200", "010c030007")
	r.exchange("0c03000100", "0d")

	for name, forget := range map[string]func(){
		"a write":             func() { r.exchange("12030001", "13") },
		"a command":           func() { r.host("52030001") },
		"time":                func() { r.pass(longWait) },
		"another database":    func() { r.s.adopt(database(plain()...)) },
		"a read of another":   func() { r.exchange("0a0500", part("0b", 0, 22)) },
		"an offset beyond it": func() { r.exchange("0c03003d00", "010c030007") },
	} {
		r.answers = func(ble.Operation) ([]byte, error) { return ramp(60), nil }
		r.exchange("0a0300", part("0b", 0, 22))
		forget()
		r.asked = nil
		r.answers = func(ble.Operation) ([]byte, error) { return []byte{9, 9}, nil }
		r.exchange("0c03000100", "0d09")
		if len(r.asked) != 1 {
			t.Errorf("%s does not forget the value", name)
		}
	}

	r.answers = func(ble.Operation) ([]byte, error) { return ramp(22), nil } // just fits: the host asks for more
	r.exchange("0a0300", part("0b", 0, 22))
	r.asked = nil
	r.exchange("0c03001600", "0d")
	r.ask()

	r.answers = func(ble.Operation) ([]byte, error) { return ramp(60), nil }
	r.exchange("080100ffff012a", "0915"+"0500"+hex.EncodeToString(ramp(19)))
	r.asked = nil
	r.exchange("0c05001300", part("0d", 19, 41)) // of what Read By Type gave the beginning of
	r.ask()
}

// TestWholeLengths: every length at every MTU comes through whole, with one read of the peripheral.
func TestWholeLengths(t *testing.T) {
	t.Parallel()
	for _, mtu := range []int{23, 24, 100, 247, 517} {
		for _, n := range []int{0, 1, mtu - 2, mtu - 1, mtu, 2*mtu - 2, 2*mtu - 1, 300, 512} {
			if n > ble.MaxAttribute {
				continue
			}
			r := resolved(t, mtu, plain()...)
			want := ramp(n)
			r.answers = func(ble.Operation) ([]byte, error) { return want, nil }
			r.host("0a0300")
			var got []byte
			for pdu := unhex(t, r.sent[0]); ; pdu = unhex(t, r.sent[0]) {
				got = append(got, pdu[1:]...)
				if len(pdu) < mtu || len(got) >= ble.MaxAttribute {
					break
				}
				r.sent = nil
				r.host("0c0300" + hex.EncodeToString([]byte{byte(len(got)), byte(len(got) >> 8)}))
			}
			if !bytes.Equal(got, want) || len(r.asked) != 1 {
				t.Errorf("%d bytes at MTU %d: %d bytes in %d reads", n, mtu, len(got), len(r.asked))
			}
		}
	}
}

// TestPreparedWrite: the peripheral gets one write of each whole value.
func TestPreparedWrite(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		parts []string // of Prepare Write: handle, offset, value
		old   string
		asked string
		want  string
	}{
		"one":                     {[]string{"0300 0000 010203"}, "", "Write 0003 010203", "19"},
		"two":                     {[]string{"0300 0000 0102", "0300 0200 0304"}, "", "Write 0003 01020304", "19"},
		"one over the other":      {[]string{"0300 0000 010203", "0300 0100 09"}, "", "Write 0003 010903", "19"},
		"two attributes, in turn": {[]string{"0300 0000 01", "0500 0000 02", "0300 0100 03"}, "", "Write 0003 0103, Write 0005 02", "19"},
		"into a value":            {[]string{"0300 0200 aabb"}, "0102030405", "Read 0003, Write 0003 0102aabb05", "19"},
		"behind a value":          {[]string{"0300 0200 aabb"}, "0102", "Read 0003, Write 0003 0102aabb", "19"},
		"with a gap":              {[]string{"0300 0000 01", "0300 0300 02"}, "01020304", "Read 0003, Write 0003 01020302", "19"},
		"beyond a value":          {[]string{"0300 0300 aabb"}, "0102", "Read 0003", "01 18 0300 07"},
		"too long":                {[]string{"0300 0000 00", "0300 ff01" + strings.Repeat("00", 40)}, strings.Repeat("01", 511), "Read 0003", "01 18 0300 0d"},
		"a descriptor":            {[]string{"0d00 0000 0100"}, "", "WriteDescriptor 000d 0100", "19"},
		"nothing":                 {[]string{"0300 0000"}, "", "Write 0003", "19"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := resolved(t, 50, plain()...)
			r.answers = func(ble.Operation) ([]byte, error) { return unhex(t, c.old), nil }
			for _, p := range c.parts {
				r.exchange("16"+p, "17"+p)
			}
			r.ask()
			r.exchange("1801", c.want)
			r.ask(c.asked)
			r.asked = nil
			r.exchange("1801", "19") // it is done once
			r.ask()
		})
	}
	r := resolved(t, 50, plain()...)
	r.exchange("160300000001", "17"+"0300000001")
	r.exchange("1800", "19")
	r.exchange("1801", "19")
	r.ask()
	r.host(strings.Repeat("16", 1) + "03000000" + strings.Repeat("00", 45))
	r.sent = nil
	n := 1
	for ; n < 1000; n++ {
		r.host("16030000" + "00")
		if r.sent[0] == "0116030009" {
			break
		}
		r.sent = nil
	}
	if n > maxParts {
		t.Errorf("%d parts are kept", n)
	}
	r = resolved(t, 517, plain()...)
	n = 0
	for ; n < 1000; n++ {
		r.sent = nil
		r.host("16030000" + "00" + strings.Repeat("00", 500))
		if r.sent[0] == "0116030009" {
			break
		}
	}
	if n*501 > maxPrepared {
		t.Errorf("%d bytes are kept", n*501)
	}
}

// TestNotifications: what the host configured on this link decides, and indications wait for one another.
func TestNotifications(t *testing.T) {
	t.Parallel()
	r := resolved(t, 23, plain()...)
	r.s.Notified(12, []byte{1})
	r.s.Notified(22, []byte{1})
	r.s.Notified(99, []byte{1})
	r.s.Notified(13, []byte{1})
	r.want()
	r.exchange("120d000100", "13")
	r.exchange("1217000200", "13")
	r.ask("WriteDescriptor 000d 0100", "WriteDescriptor 0017 0200")
	r.s.Notified(12, ramp(40))
	r.want("1b0c00" + hex.EncodeToString(ramp(20)))
	for i := range 3 {
		r.s.Notified(22, []byte{byte(i)})
	}
	r.want("1d160000")
	r.s.Notified(12, []byte{7}) // does not wait for it
	r.want("1b0c0007")
	r.host("1e")
	r.want("1d160001")
	r.host("1e")
	r.want("1d160002")
	r.host("1e")
	r.host("1e")
	r.want()
	r.pass(2 * confirmWait)
	r.exchange("1217000300", "13") // both: a notification, which costs the host nothing
	r.s.Notified(22, []byte{5})
	r.want("1b160005")
	r.s.Unsubscribed(22)
	r.s.Notified(22, []byte{5})
	r.exchange("120d000000", "13")
	r.s.Notified(12, []byte{5})
	r.want()
	r.answers = func(ble.Operation) ([]byte, error) { return nil, ble.ATTEncryption }
	r.exchange("120d000100", "01120d000f")
	r.s.Notified(12, []byte{5})
	r.want()
	if len(r.ended) != 0 {
		t.Error("ended")
	}
}

// TestUnconfirmed: a host that does not confirm loses the link, sooner or later.
func TestUnconfirmed(t *testing.T) {
	t.Parallel()
	r := resolved(t, 23, plain()...)
	r.exchange("1217000200", "13")
	r.s.Notified(22, []byte{1})
	r.pass(confirmWait - time.Second)
	r.host("1e")
	r.s.Notified(22, []byte{2})
	r.pass(confirmWait - time.Second)
	if len(r.ended) != 0 {
		t.Fatal("ended before its time")
	}
	r.pass(time.Second)
	if len(r.ended) != 1 {
		t.Fatal("not ended")
	}
	r = resolved(t, 23, plain()...)
	r.exchange("1217000200", "13")
	for range 2 * maxWaiting {
		r.s.Notified(22, []byte{1})
	}
	if len(r.ended) != 1 || len(r.s.indication.waiting) != 0 {
		t.Errorf("ended %v, %d wait", r.ended, len(r.s.indication.waiting))
	}
}

// TestOwnConfiguration: what a host reads of a configuration is what it wrote, not what all parties want.
func TestOwnConfiguration(t *testing.T) {
	t.Parallel()
	r := resolved(t, 23, plain()...)
	r.answers = func(op ble.Operation) ([]byte, error) { return []byte{3, 0}, nil }
	r.exchange("0a1700", "0b0300") // it wrote nothing: the peripheral's
	r.exchange("1217000200", "13")
	r.exchange("0a1700", "0b0200")
	r.exchange("0816001800 0229", "09041700"+"0200")
	r.answers = func(op ble.Operation) ([]byte, error) { return nil, ble.ATTReadNotPermitted }
	r.exchange("0a1700", "010a170002")
	r.answers = func(op ble.Operation) ([]byte, error) { return nil, nil }
	r.host("5217000000")
	r.answers = func(op ble.Operation) ([]byte, error) { return []byte{3, 0}, nil }
	r.exchange("0a1700", "0b0000")
}

// TestFeatures: the client over the air is the proxy, so what this host supports stays here, and enhanced channels
// there are none.
func TestFeatures(t *testing.T) {
	t.Parallel()
	r := resolved(t, 50, service(1, 0x1801,
		char(3, 0x2b29, ble.PropRead|ble.PropWrite), char(5, 0x2b3a, ble.PropRead), char(7, 0x2b2a, ble.PropRead)))
	r.answers = func(op ble.Operation) ([]byte, error) {
		return map[uint16][]byte{3: {0}, 5: {3}, 7: ramp(16)}[op.Handle], nil
	}
	r.exchange("0a0300", "0b00")
	r.exchange("0a0500", "0b02")
	r.exchange("080100ffff2a2b", "09120700"+hex.EncodeToString(ramp(16)))
	r.asked = nil
	r.exchange("12030005", "13")
	r.exchange("0a0300", "0b05")
	r.host("52030001")
	r.exchange("0a0300", "0b01")
	r.ask()
}
