package controller

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"bluez-esphome/tests/harness"
)

// raw is a host that sends and expects bytes.
type raw struct {
	t    *testing.T
	conn net.Conn
	got  []byte
}

func dial(t *testing.T, socket string) *raw {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(limit))
	return &raw{t: t, conn: conn}
}

// say sends packets, given in hex.
func (r *raw) say(packets string) {
	r.t.Helper()
	b, err := hex.DecodeString(packets)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// until reads until the wanted bytes, given in hex, have come. It drops them and everything before them.
func (r *raw) until(want string) {
	r.t.Helper()
	b, _ := hex.DecodeString(want)
	buf := make([]byte, 4096)
	for {
		if i := bytes.Index(r.got, b); i >= 0 {
			r.got = r.got[i+len(b):]
			return
		}
		n, err := r.conn.Read(buf)
		if err != nil {
			r.t.Fatalf("waiting for %s: %v", want, err)
		}
		r.got = append(r.got, buf[:n]...)
	}
}

const (
	resetThenScan = "01030c00" + "010b200700600060000000" + "010c20020101"
	scanStarted   = "040e04010c2000"
	// reported is the address of the peripheral in a report, with its type.
	reported = "0201" + "0000" + "01000101aa00"
)

// TestSomeProxies: of three controllers, one has one proxy, one has two, and one has all. The host of each gets what
// these proxies hear. A reload that removes a controller does not disturb the hosts of the others.
func TestSomeProxies(t *testing.T) {
	t.Parallel()
	place := harness.NewPlace(t)
	_, addrs := harness.Simulate(t, harness.Path(t, "internal", "proxysim", "testdata", "golden-peripheral.json"),
		"kitchen=127.0.0.1:0", "hall=127.0.0.1:0", "garage=127.0.0.1:0")
	config := filepath.Join(place.Dir, "config.yaml")
	socket := func(name string) string { return filepath.Join(place.Dir, name+".sock") }
	write := func(controllers ...string) {
		text := "bus: none\nproxies:\n"
		for _, name := range []string{"kitchen", "hall", "garage"} {
			text += fmt.Sprintf("  - {address: %q, name: %s}\n", addrs[name], name)
		}
		text += "hci:\n"
		for _, c := range controllers {
			text += "  - {unix: " + c + "}\n"
		}
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one, two, all := socket("one")+", proxies: [hall]", socket("two")+", proxies: [kitchen, garage]", socket("all")
	write(one, two, all)
	daemon := harness.Start(t, place.Env(), harness.Binary(), "run", "--config", config)
	for range 3 {
		daemon.Err.Expect(t, `A controller waits for its host`)
	}
	hosts := []*raw{dial(t, socket("one")), dial(t, socket("two")), dial(t, socket("all"))}
	for _, h := range hosts {
		h.say(resetThenScan)
		h.until(scanStarted)
	}
	for _, h := range hosts {
		h.until(reported)
		h.until(reported) // once more, although the host asked for the filtering of duplicates
	}
	write(two, all)
	daemon.Signal(t, syscall.SIGHUP)
	daemon.Err.Expect(t, `The configuration was read again`)
	if _, err := io.Copy(io.Discard, hosts[0].conn); err != nil { // the connection is closed
		t.Error(err)
	}
	for _, h := range hosts[1:] {
		h.until(reported)
		h.say("01091000")
		h.until("040e0a01091000")
	}
	if _, err := os.Stat(socket("one")); err == nil {
		t.Error("the socket of the controller that went is still there")
	}
}
