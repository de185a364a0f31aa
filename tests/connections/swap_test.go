package connections

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"bluez-esphome/internal/proxysim"

	"github.com/godbus/dbus/v5"
)

// switchboard is an address at which one proxy or another answers.
type switchboard struct {
	net.Listener
	mu    sync.Mutex
	to    string // "": nobody
	conns []net.Conn
}

func newSwitchboard(t *testing.T, to string) *switchboard {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &switchboard{Listener: ln, to: to}
	t.Cleanup(func() { ln.Close(); s.connect("") })
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			out, err := net.Dial("tcp", s.to)
			if err != nil {
				in.Close()
				s.mu.Unlock()
				continue
			}
			s.conns = append(s.conns, in, out)
			s.mu.Unlock()
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				go func() {
					io.Copy(pair[0], pair[1]) // it ends with either
					pair[0].Close()
				}()
			}
		}
	}()
	return s
}

// connect drops the connections and has another proxy answer from now on.
func (s *switchboard) connect(to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = to
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

// proxyNote gives the Note of the proxy at an address.
func (w *world) proxyNote(host string) string {
	for _, ifaces := range w.Objects() {
		if p := ifaces["org.bluez_esphome.Proxy1"]; p != nil && p["Host"].Value() == host {
			note, _ := p["Note"].Value().(string)
			return note
		}
	}
	return ""
}

// TestE7BondsGoWithTheDevice is E7 of the users' reports: two proxies that exchange their addresses keep their bonds,
// which are theirs and not their addresses', and log and status say that another device answers there. While the one
// with the bond is away, what needs encryption is refused as by bluetoothd, and nobody pairs anew.
func TestE7BondsGoWithTheDevice(t *testing.T) {
	t.Parallel()
	d := sensor(0, "one", "two")
	d.GATT.Services[1].Characteristics[0].Security = "encryption"
	w := newWorld(t, setup{devices: []proxysim.DeviceSpec{d}, proxies: []proxysim.ProxyConfig{{Name: "one"}, {Name: "two"}}})
	one, two := w.sim.Addr("one").String(), w.sim.Addr("two").String()
	a, b := newSwitchboard(t, one), newSwitchboard(t, two)
	w.stop()
	head, _, _ := strings.Cut(w.yaml, "proxies:\n")
	w.start(head + fmt.Sprintf("proxies: [{address: %q}, {address: %q}]\n", a.Addr(), b.Addr()))
	w.Call(adapterPath, adapterIface+".StartDiscovery")
	w.heard(d)
	path := devicePath(d)
	rssi := func(proxy string, dBm int8, hears bool) {
		if err := w.sim.Air().SetRSSI(d.ID, proxy, dBm, hears); err != nil {
			t.Fatal(err)
		}
	}
	rssi("two", 0, false) // the second proxy does not hear it yet
	w.link(path)
	if h := w.holder(d); h != "one" {
		t.Fatalf("linked through %q", h)
	}
	w.Call(path, deviceIface+".Pair")
	w.Call(path, deviceIface+".Disconnect")

	// They change places; the one with the bond is heard worse.
	a.connect(two)
	b.connect(one)
	rssi("one", -85, true)
	rssi("two", -40, true)
	eventually(t, "status says who answers", func() bool {
		return strings.Contains(w.proxyNote(a.Addr().String()), "Another device answers at this address") ||
			strings.Contains(w.proxyNote(b.Addr().String()), "Another device answers at this address")
	})
	if !strings.Contains(w.logs.tail(), "Another device answers at the address of a proxy") {
		t.Error("the log has no word of it")
	}
	w.heard(d)
	read := func() error {
		var value []byte
		return w.Call(w.char(path, echo), charIface+".ReadValue", map[string]dbus.Variant{}).Store(&value)
	}
	w.link(path)
	for range 4 { // on a busy machine a proxy may not answer in time, and the other one is used
		if w.holder(d) != "one" {
			w.Call(path, deviceIface+".Disconnect")
			w.link(path)
		}
	}
	if h := w.holder(d); h != "one" {
		t.Errorf("linked through %q, not through the proxy with the bond", h)
	}
	if err := read(); err != nil {
		t.Error(err)
	}
	w.Call(path, deviceIface+".Disconnect")

	// The one with the bond goes.
	b.connect("127.0.0.1:1")
	eventually(t, "the other one is linked", func() bool {
		return w.object(path).Call(deviceIface+".Connect", 0).Err == nil && w.holder(d) == "two"
	})
	eventually(t, "services are resolved", func() bool { return w.Get(path, deviceIface, "ServicesResolved") == true })
	w.fails(w.char(path, echo), charIface+".ReadValue", "org.bluez.Error.NotPermitted", nil, map[string]dbus.Variant{})
	if w.sim.Proxy("two").Bonded(d.Address) || w.Get(path, deviceIface, "Paired") != true {
		t.Error("it was paired anew, or the bond is forgotten")
	}
}
