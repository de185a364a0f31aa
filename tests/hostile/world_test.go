package hostile

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/internal/task/tasktest"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

const (
	adapterPath   = dbus.ObjectPath("/org/bluez/hci0")
	goodPath      = adapterPath + "/dev_00_AA_03_00_00_01"
	otherPath     = adapterPath + "/dev_00_AA_03_00_00_02"
	readPath      = goodPath + "/service0001/char0002"
	notifyPath    = goodPath + "/service0001/char0004"
	notifyHandle  = 5
	adapterIface  = "org.bluez.Adapter1"
	deviceIface   = "org.bluez.Device1"
	charIface     = "org.bluez.GattCharacteristic1"
	properties    = "org.freedesktop.DBus.Properties"
	objectManager = "org.freedesktop.DBus.ObjectManager"

	// patience is the longest time that a test waits for what must come. It is far longer than necessary, as machines
	// may be slow.
	patience = 5 * time.Minute
)

// device is a peripheral that the good proxy hears.
func device(n int) proxysim.DeviceSpec {
	flags := uint8(6)
	d := proxysim.DeviceSpec{
		ID: fmt.Sprint("good", n), Address: 0x00AA03000000 + ble.Address(n), Connectable: true, MTU: 247, RSSI: map[string]int8{"good": -60},
		Advert: proxysim.AdvertSpec{Flags: &flags, LocalName: fmt.Sprint("Good ", n), IntervalMS: 500},
	}
	d.GATT.Services = []proxysim.ServiceSpec{{UUID: ble.UUID16(0xfff0), Characteristics: []proxysim.CharSpec{
		{UUID: ble.UUID16(0xfff1), Properties: []string{"read", "write"}, Value: []byte("hello")},
		{UUID: ble.UUID16(0xfff2), Properties: []string{"notify"}, Descriptors: []proxysim.DescSpec{{UUID: ble.UUIDCCCD, Value: []byte{0, 0}, Writable: true}}},
	}}}
	return d
}

// world is a good proxy, the daemon and what else it is configured with.
type world struct {
	t     testing.TB
	sim   *proxysim.Simulation
	place harness.Place
	bus   *harness.Bus
	peak  atomic.Int64 // of the daemon's memory, bytes
}

// newWorld starts it; further are more lines of the configuration, each proxy first.
func newWorld(t testing.TB, proxies, further string) *world {
	t.Helper()
	w := &world{t: t, place: harness.NewPlace(t)}
	var err error
	w.sim, err = proxysim.New(proxysim.Options{
		Peripherals: []proxysim.DeviceSpec{device(1), device(2)}, Log: slog.New(slog.DiscardHandler),
		Proxies: []proxysim.ProxySpec{{ProxyConfig: proxysim.ProxyConfig{Name: "good"}, Listen: "127.0.0.1:0"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.background(w.sim.Run)
	w.bus = w.place.Run(t, fmt.Sprintf("proxies:\n  - {name: good, address: \"%s\"}\n%slog: {level: debug, format: text}\n%s",
		w.sim.Addr("good"), proxies, further))
	w.background(func(ctx context.Context) error {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				w.peak.Store(max(w.peak.Load(), w.memory()))
			}
		}
	})
	return w
}

// background runs f until the test ends.
func (w *world) background(f func(context.Context) error) {
	tasktest.Background(w.t, f)
}

// memory is what the daemon has in RAM.
func (w *world) memory() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", w.bus.Daemon.PID()))
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

// client is one program on the bus.
type client struct{ *harness.Client }

func (w *world) client() *client {
	w.t.Helper()
	c := &client{w.bus.Client(w.t)}
	c.Limit = patience
	return c
}

// link discovers and connects a device.
func (c *client) link(path dbus.ObjectPath) {
	c.T.Helper()
	c.Eventually("there is "+string(path), func() bool { return c.Get(path, deviceIface, "Address") != nil })
	c.Call(path, deviceIface+".Connect")
	c.Until(path, deviceIface, "ServicesResolved", true)
}

// times are how long calls took.
type times []time.Duration

func (l times) String() string {
	if len(l) == 0 {
		return "none"
	}
	s := slices.Sorted(slices.Values(l))
	at := func(p float64) time.Duration { return s[int(p*float64(len(s)-1))].Round(10 * time.Microsecond) }
	return fmt.Sprintf("%d of them, p50 %v, p99 %v, most %v", len(s), at(0.5), at(0.99), at(1))
}

// reads reads the good device's value until done, at most every 2 ms; each reading has to succeed.
func (c *client) reads(done <-chan struct{}) (l times) {
	c.T.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return l
		case <-tick.C:
		}
		begun := time.Now()
		var b []byte
		if err := c.Try(readPath, charIface+".ReadValue", map[string]dbus.Variant{}).Store(&b); err != nil || string(b) != "hello" {
			c.T.Fatalf("reading %d after %v: %q, %v", len(l), time.Since(begun), b, err)
		}
		l = append(l, time.Since(begun))
	}
}

func after(d time.Duration) <-chan struct{} {
	ch := make(chan struct{})
	time.AfterFunc(d, func() { close(ch) })
	return ch
}

// counted has the good device notify numbers, 50 a second, and gives how many came; one that is missing, wrong or out
// of order fails.
func (w *world) counted() func() uint32 {
	c := w.client()
	signals := make(chan *dbus.Signal, 4096)
	c.Conn.Signal(signals)
	if err := c.Conn.AddMatchSignal(dbus.WithMatchSender("org.bluez"), dbus.WithMatchObjectPath(notifyPath)); err != nil {
		w.t.Fatal(err)
	}
	c.Call(notifyPath, charIface+".StartNotify")
	var heard atomic.Uint32
	w.background(func(ctx context.Context) error {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := uint32(1); ; {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				if w.sim.Air().Notify("good1", notifyHandle, binary.BigEndian.AppendUint32(nil, n), false) == nil {
					n++
				}
			case s := <-signals:
				if s == nil {
					return nil
				}
				if s.Path != notifyPath || len(s.Body) != 3 {
					continue // NameAcquired
				}
				props, _ := s.Body[1].(map[string]dbus.Variant)
				b, ok := props["Value"].Value().([]byte)
				if !ok {
					continue
				}
				if want := heard.Add(1); len(b) != 4 || binary.BigEndian.Uint32(b) != want {
					return fmt.Errorf("notification %x, want %d", b, want)
				}
			}
		}
	})
	return heard.Load
}

// clean checks that a text has no characters that a terminal would act on.
func clean(t testing.TB, what, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s is not UTF-8", what)
	}
	for line := range strings.SplitSeq(text, "\n") {
		if i := strings.IndexFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' || unicode.Is(unicode.Cf, r) }); i >= 0 {
			t.Errorf("%s has a control character: %.300q", what, line)
			return
		}
	}
}
