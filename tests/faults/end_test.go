package faults

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/dbusobj/dbustest"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// killedAfter is when systemd kills what does not end: the units' TimeoutStopSec. Two seconds are promised; how long it
// took is logged, and the soak run holds the daemon to it.
const killedAfter = 15 * time.Second

// A moment is one at which the daemon has to end.
type moment struct {
	name string
	// before brings the daemon to the moment; what it returns is undone after the end.
	before func(*world, *client) (after func())
	// stuck: the proxies cannot hear of the end.
	stuck  bool
	listen bool // for HTTP and hosts
}

// moments are the bad moments for an end.
func moments() []moment {
	return []moment{
		{name: "idle", before: func(*world, *client) func() { return nil }},
		{name: "connecting", before: func(w *world, c *client) func() {
			// The device is known and does not advertise, so that the attempt lasts.
			c.Call(adapterPath, adapterIface+".StartDiscovery")
			c.Until(devicePath(1), deviceIface, "Address", (address0 + 1).String())
			if err := w.sim.Air().Advertise("1", false); err != nil {
				w.t.Fatal(err)
			}
			c.Conn.Object("org.bluez", devicePath(1)).Go(deviceIface+".Connect", 0, nil)
			w.eventually("a slot is taken", func() bool { return w.slots() > 0 })
			return nil
		}},
		{name: "resolving services", before: func(w *world, c *client) func() {
			for _, p := range w.sim.Proxies() {
				p.Truncate(1000) // the list of services never comes to its end
			}
			c.Call(adapterPath, adapterIface+".StartDiscovery")
			c.Until(devicePath(0), deviceIface, "Address", address0.String())
			c.Conn.Object("org.bluez", devicePath(0)).Go(deviceIface+".Connect", 0, nil)
			c.Until(devicePath(0), deviceIface, "Connected", true)
			return nil
		}},
		{name: "notifying", before: func(_ *world, c *client) func() {
			for i := range peripherals {
				c.connect(i)
				c.Call(devicePath(i)+numbers, charIface+".StartNotify")
			}
			c.notified()
			return nil
		}},
		{name: "pairing", before: func(w *world, c *client) func() {
			c.connect(0)
			for _, p := range w.sim.Proxies() {
				p.SetWriteDelay(time.Second)
			}
			c.Call("/org/bluez", "org.bluez.AgentManager1.RegisterAgent", dbus.ObjectPath("/agent"), "NoInputNoOutput")
			c.Conn.Object("org.bluez", devicePath(0)).Go(deviceIface+".Pair", 0, nil)
			return func() {
				for _, p := range w.sim.Proxies() {
					p.SetWriteDelay(0)
				}
			}
		}},
		{name: "proxies are silent", stuck: true, before: func(w *world, c *client) func() {
			busy(c)
			for _, p := range w.sim.Proxies() {
				p.SetFault(proxysim.FaultHalfOpen)
			}
			c.Conn.Object("org.bluez", devicePath(0)+register).Go(charIface+".ReadValue", 0, nil, map[string]dbus.Variant{})
			return func() {
				for _, p := range w.sim.Proxies() {
					p.SetFault(proxysim.FaultNone)
				}
			}
		}},
		{name: "shared and watched", listen: true, before: func(w *world, c *client) func() {
			busy(c)
			hosts, err := net.Dial("tcp", w.share) // it never says a word
			if err != nil {
				w.t.Fatal(err)
			}
			page, err := http.Get("http://" + w.page + "/events")
			if err != nil {
				w.t.Fatal(err)
			}
			return func() {
				_ = hosts.Close()
				_ = page.Body.Close()
			}
		}},
		{name: "the bus hangs", before: func(w *world, c *client) func() {
			busy(c)
			pid := busPID(c)
			if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
				w.t.Fatal(err)
			}
			return func() { _ = unix.Kill(pid, unix.SIGCONT) }
		}},
	}
}

// TestTerminated sends SIGTERM at bad moments. Each time the daemon ends with status 0 in time, links and sessions are
// gone from the proxies, org.bluez is free, and the state is written.
func TestTerminated(t *testing.T) {
	t.Parallel()
	for _, tt := range moments() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tt.listen {
				w.listen()
			}
			address := dbustest.Start(t)
			bus := w.start(address)
			c := newClient(t, bus)
			w.eventually("two sessions", func() bool { return w.sessions() == 2 })
			c.Call(adapterPath, properties+".Set", adapterIface, "Alias", dbus.MakeVariant("set before the end"))
			after := tt.before(w, c)

			begun := time.Now()
			bus.Daemon.Signal(t, unix.SIGTERM)
			if status := bus.Daemon.Wait(t, killedAfter); status != 0 {
				t.Errorf("status %d", status)
			}
			t.Logf("ended after %v", time.Since(begun).Round(time.Millisecond))
			if after != nil {
				after()
			}
			w.eventually("the proxies have no session and no link of ours", func() bool { return w.sessions() == 0 && w.slots() == 0 })
			if b, err := os.ReadFile(w.state("state.json")); err != nil || !strings.Contains(string(b), "set before the end") {
				t.Errorf("the state is not written: %v\n%s", err, b)
			}
			var owned bool
			if err := newClient(t, bus).Conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, "org.bluez").Store(&owned); err != nil || owned {
				t.Errorf("org.bluez is still owned (%v, %v)", owned, err)
			}
			if tt.stuck {
				return
			}
			if n := bus.Daemon.Err.Count(`level=ERROR`); n > 0 {
				t.Errorf("%d errors in the log", n)
			}
		})
	}
}

// TestTerminatedEarly ends the daemon before it is ready: its bus accepts the connection and never answers.
func TestTerminatedEarly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	address := dbustest.Start(t)
	c := newClient(t, &harness.Bus{Address: address})
	pid := busPID(c)
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer unix.Kill(pid, unix.SIGCONT)
	d := w.launch(address)
	w.eventually("the state is open", func() bool { _, err := os.Stat(w.state("lock")); return err == nil })
	d.Signal(t, unix.SIGTERM)
	if status := d.Wait(t, harness.Limit); status != 0 {
		t.Errorf("status %d: %s", status, d.Err)
	}
}

// TestKilled kills the daemon while it is connected, notified and writing its state, over and over. The next one finds
// the state whole, connects again, and nothing stays occupied on the proxies.
func TestKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	address := dbustest.Start(t)
	for round := range 5 {
		bus := w.start(address)
		c := newClient(t, bus)
		for i := range peripherals {
			c.connect(i)
			c.Call(devicePath(i)+numbers, charIface+".StartNotify")
		}
		c.notified()
		if round > 0 { // what was kept before is still there
			if got := text(c.Get(devicePath(0), deviceIface, "Alias")); !strings.HasPrefix(got, fmt.Sprint("round ", round-1)) {
				t.Errorf("round %d: the alias is %q", round, got)
			}
		}
		for n := range 200 { // writes of the state are under way all the time
			c.Call(devicePath(0), properties+".Set", deviceIface, "Alias", dbus.MakeVariant(fmt.Sprintf("round %d %d", round, n)))
		}
		w.eventually("the state is written", func() bool {
			b, err := os.ReadFile(w.state("state.json"))
			return err == nil && strings.Contains(string(b), fmt.Sprint("round ", round))
		})
		c.Call(devicePath(0), properties+".Set", deviceIface, "Alias", dbus.MakeVariant(fmt.Sprintf("round %d last", round)))
		bus.Daemon.Signal(t, unix.SIGKILL)
		bus.Daemon.Wait(t, harness.Limit)
		b, err := os.ReadFile(w.state("state.json"))
		if err != nil || !json.Valid(b) {
			t.Fatalf("round %d: the state is damaged: %v\n%s", round, err, b)
		}
		if n := bus.Daemon.Err.Count("damaged"); n > 0 {
			t.Errorf("round %d: damage was found", round)
		}
	}
	w.eventually("the proxies have no session and no link of ours", func() bool { return w.sessions() == 0 && w.slots() == 0 })
}

func text(v any) string { s, _ := v.(string); return s }
