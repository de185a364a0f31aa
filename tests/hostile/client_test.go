package hostile

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

// clientMemory is what the daemon may need under attack by local clients: 64 MiB of messages that wait for the loop at
// most, as much garbage, and 30 MiB for itself, answers and descriptors.
const clientMemory = 200 << 20

// assault is one way to attack: f is called again and again with a connection until it fails.
type assault struct {
	name  string
	names int // connections at a time
	f     func(r *raw, i int) error
}

// errEnough ends a connection.
var errEnough = errors.New("enough")

func properties3(member string, args ...any) *dbus.Message {
	return message(adapterPath, properties, member, args...)
}

// many repeats a message until one write carries many calls.
func many(n int, m *dbus.Message) []*dbus.Message {
	out := make([]*dbus.Message, n)
	for i := range out {
		out[i] = m
	}
	return out
}

// reading sends the same calls again and again, and reads the answers in between. More calls at a time would only fill
// the queue of the bus, in which everybody's messages wait before the daemon sees them.
func reading(messages ...*dbus.Message) func(r *raw, i int) error {
	return func(r *raw, _ int) error {
		if err := r.send(r.pack(messages...)); err != nil {
			return err
		}
		return r.answered(r.serial)
	}
}

// blind sends that many calls and never reads their answers.
func blind(messages ...*dbus.Message) func(r *raw, i int) error {
	return func(r *raw, _ int) error {
		for range 20 {
			if err := r.send(r.pack(messages...)); err != nil {
				return err
			}
		}
		return r.wait()
	}
}

func assaults(t testing.TB) []assault {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	fds := make([]int, 16)
	for i := range fds {
		fds[i] = int(null.Fd())
	}
	const (
		monitors = "org.bluez.AdvertisementMonitorManager1"
		agents   = "org.bluez.AgentManager1"
		otherChr = otherPath + "/service0001/char0004"
	)
	uuids := make([]string, 256)
	for i := range uuids {
		uuids[i] = fmt.Sprintf("0000%04x-0000-1000-8000-00805f9b34fb", i)
	}
	options := map[string]dbus.Variant{}
	filter := map[string]dbus.Variant{"UUIDs": dbus.MakeVariant(uuids), "DuplicateData": dbus.MakeVariant(true)}
	hold := func(fds []int) func(r *raw, i int) error {
		m := message(adapterPath, adapterIface, "StartDiscovery", uint32(0))
		m.Headers[dbus.FieldUnixFDs] = dbus.MakeVariant(uint32(len(fds)))
		return func(r *raw, _ int) error {
			for range 20 {
				if err := r.send(r.pack(m), fds...); err != nil {
					return err
				}
			}
			return errEnough
		}
	}
	return []assault{
		{"calls, pipelined", 4, reading(many(500, properties3("GetAll", adapterIface))...)},
		{"calls, answers never read", 4, blind(many(200, properties3("GetAll", adapterIface))...)},
		{"GetManagedObjects", 4, reading(many(50, message("/", objectManager, "GetManagedObjects"))...)},
		{"GetManagedObjects, never read", 2, blind(many(50, message("/", objectManager, "GetManagedObjects"))...)},
		{"Introspect", 2, reading(many(100, message(adapterPath, "org.freedesktop.DBus.Introspectable", "Introspect"))...)},
		{"Alias set", 2, func(r *raw, i int) error {
			if err := r.send(r.pack(many(100, properties3("Set", adapterIface, "Alias", dbus.MakeVariant(fmt.Sprint("n", i, r.serial))))...)); err != nil {
				return err
			}
			return r.answered(r.serial)
		}},
		{"sessions, monitors and agents that never answer", 150, func(r *raw, _ int) error {
			err := r.send(r.pack(
				message(adapterPath, adapterIface, "SetDiscoveryFilter", filter), message(adapterPath, adapterIface, "StartDiscovery"),
				message("/org/bluez", agents, "RegisterAgent", dbus.ObjectPath("/a"), ""), message(adapterPath, monitors, "RegisterMonitor", dbus.ObjectPath("/m")),
				message(otherChr, charIface, "StartNotify"),
			))
			if err == nil {
				r.discard()
			}
			return errEnough
		}},
		{"names that come and go", 4, func(r *raw, _ int) error {
			_ = r.send(r.pack(message(adapterPath, adapterIface, "StartDiscovery"), message(otherChr, charIface, "StartNotify"),
				message(otherPath+"/service0001/char0002", charIface, "ReadValue", options)))
			return errEnough
		}},
		{"descriptors in flight, 16 at a time", 4, hold(fds)},
		{"descriptors in flight", 4, hold(fds[:1])},
		{"16 MiB values", 2, reading(message(otherPath+"/service0001/char0002", charIface, "WriteValue", make([]byte, 16<<20), options))},
		{"7 MiB values", 2, reading(message(otherPath+"/service0001/char0002", charIface, "WriteValue", make([]byte, 7<<20), options))},
		{"readings, pipelined", 2, reading(many(500, message(otherPath+"/service0001/char0002", charIface, "ReadValue", options))...)},
	}
}

// TestHostileClients has another client read while local clients attack, one way after the other and then in all at
// once. Every reading succeeds, no notification is lost, and afterwards nothing is left of the attackers. How long
// readings took is logged: the bus itself, which all share, is the larger part of it.
func TestHostileClients(t *testing.T) {
	w := newWorld(t, "", "")
	c := w.client()
	c.Call(adapterPath, adapterIface+".StartDiscovery")
	c.link(goodPath)
	c.link(otherPath)
	heard := w.counted()
	quiet := c.reads(after(2 * time.Second))
	t.Logf("before: %v", quiet)
	fdsBefore := w.bus.Daemon.Descriptors(t)

	all, each := assaults(t), harness.ByNight(500*time.Millisecond, 1500*time.Millisecond)
	for _, a := range all {
		stop := make(chan struct{})
		rounds := w.attack(t, a.names, stop, a.f)
		l := c.reads(after(each))
		close(stop)
		t.Logf("%s: %d rounds; %v", a.name, rounds(), l)
	}
	stop := make(chan struct{})
	var ends []func() int
	for _, a := range all {
		ends = append(ends, w.attack(t, a.names, stop, a.f))
	}
	n := heard()
	l := c.reads(after(4 * each))
	close(stop)
	for _, end := range ends {
		end()
	}
	t.Logf("all at once: %v; at most %d MiB", l, w.peak.Load()>>20)
	c.Eventually("notifications go on", func() bool { return heard() > n+50 })
	if w.peak.Load() > clientMemory {
		t.Errorf("the daemon took %d MiB", w.peak.Load()>>20)
	}
	c.Eventually("descriptors are as before", func() bool { return w.bus.Daemon.Descriptors(t) <= fdsBefore+4 })
	t.Logf("after: %v", c.reads(after(2*time.Second)))
	for _, p := range []dbus.ObjectPath{"/", adapterPath, goodPath} {
		c.Call(p, "org.freedesktop.DBus.Introspectable.Introspect")
	}
	// The bus may still have messages of clients that are gone, and tells of their end behind them.
	c.Eventually("no agent is left", func() bool { return c.Get(adapterPath, adapterIface, "Pairable") == false })
}
