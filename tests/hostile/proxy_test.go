package hostile

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

const (
	maxDevices = 4096
	// proxyMemory is what the daemon may need for 17 proxies, 4,096 devices and their objects under attack: 20 MiB for
	// itself, under 10 KiB a device, and as much again for what waits and for the garbage collector.
	proxyMemory = 160 << 20
)

// TestHostileProxies lets sixteen proxies do at once all that a proxy can do wrong. The daemon goes on, and so do the
// good proxy's devices: reading, notifications without a gap, new connections.
func TestHostileProxies(t *testing.T) {
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	evils := map[string]*evil{}
	yaml := ""
	for _, p := range plans() {
		if attack := p.attack; attack != nil {
			p.attack = func(s *session) { <-gate; attack(s) }
		}
		if first := p.first; first != nil {
			p.first = func(s *session) { <-gate; first(s) }
		}
		e := listen(t, p)
		evils[p.name] = e
		further := ""
		if p.psk {
			further = ", noise_psk: \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\""
		}
		yaml += fmt.Sprintf("  - {address: \"%s\"%s}\n", e.addr, further)
	}
	w := newWorld(t, yaml, fmt.Sprintf("max_devices: %d\n", maxDevices))
	c := w.client()
	c.Call(adapterPath, adapterIface+".StartDiscovery")
	c.link(goodPath)
	c.Eventually("the other good device is there", func() bool { return c.Get(otherPath, deviceIface, "Address") != nil })
	heard := w.counted()
	before := c.reads(after(3 * time.Second))
	quiet := w.memory()

	open()
	done := after(harness.ByNight(5*time.Second, 12*time.Second))
	others := make(chan error, 1)
	go func() { others <- meanwhile(w, done) }()
	n := heard()
	during := c.reads(done)
	if err := <-others; err != nil {
		t.Error(err)
	}
	c.Eventually("notifications go on", func() bool { return heard() > n+100 })
	t.Logf("before: %v", before)
	t.Logf("during: %v; %d notifications, none missing", during, heard()-n)
	t.Logf("memory: %d MiB before, at most %d MiB", quiet>>20, w.peak.Load()>>20)
	for name, e := range evils {
		t.Logf("%s: %d messages, %d connections", name, e.sent.Load(), e.conns.Load())
		if e.conns.Load() == 0 {
			t.Errorf("%s was never connected to", name)
		}
	}
	if evils["million"].sent.Load() < 1000 || evils["answers"].sent.Load() < 1000 {
		t.Error("the attack was none")
	}
	if w.peak.Load() > proxyMemory {
		t.Errorf("the daemon took %d MiB", w.peak.Load()>>20)
	}
	tidy(t, w)
}

// meanwhile does the slow operations during the attack: it connects the other good device, and asks for the database of
// the evil one, which has no end.
func meanwhile(w *world, done <-chan struct{}) error {
	c := w.client()
	// An attempt ends after the daemon's 20 s, which may be over on a busy machine: the next one counts as well.
	for end := time.Now().Add(patience); ; {
		err := c.Try(otherPath, deviceIface+".Connect").Err
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("the other good device cannot be connected to for %v: %w", patience, err)
		}
	}
	var objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant
	err := c.Try(adapterPath+"/dev_C0_EE_00_00_00_01", deviceIface+".Connect").Err
	var refused dbus.Error
	if err != nil && !errors.As(err, &refused) {
		return fmt.Errorf("connecting the evil device was not answered: %w", err)
	}
	for { // at least once, even if connecting took the whole time
		objects = nil // Store adds to a map
		if err := c.Try("/", objectManager+".GetManagedObjects").Store(&objects); err != nil {
			return err
		}
		devices := 0
		for _, ifaces := range objects {
			if _, ok := ifaces[deviceIface]; ok {
				devices++
			}
		}
		if devices > 2*maxDevices+16 { // for a moment both the device that is removed and the one that replaces it may be there
			return fmt.Errorf("there are %d devices on the bus, %d at most were to be", devices, 2*maxDevices)
		}
		select {
		case <-done:
			if n := len(objects); n < 100 {
				return fmt.Errorf("only %d objects were listed", n)
			}
			return nil
		default:
		}
	}
}

// tidy checks that nothing of what proxies and devices said reaches a terminal as it is.
func tidy(t *testing.T, w *world) {
	t.Helper()
	clean(t, "the log", w.bus.Daemon.Err.String())
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"devices"}, {"devices", "--json"}} {
		p := harness.Start(t, w.bus.Env(), harness.Binary(), args...)
		if status := p.Wait(t, patience); status != 0 {
			t.Errorf("%v: status %d", args, status)
		}
		text := p.Out.String()
		if len(text) < 200 {
			t.Errorf("%v says only %q", args, text)
		}
		clean(t, fmt.Sprint("the output of ", args), text)
	}
}
