package connections

import (
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"

	"github.com/godbus/dbus/v5"
)

// TestLinkLoss: properties, signals and pending calls in bluetoothd's order; sessions survive and are armed again.
func TestLinkLoss(t *testing.T) {
	t.Parallel()
	d := sensor(0, "north")
	slow := &d.GATT.Services[1].Characteristics
	*slow = append(*slow, proxysim.CharSpec{UUID: ble.UUID16(0xfff4), Properties: []string{"read"}, DelayMS: 3_600_000})
	w := newWorld(t, setup{devices: []proxysim.DeviceSpec{d}, proxies: []proxysim.ProxyConfig{{Name: "north"}}})
	path := devicePath(d)
	w.link(path)
	notifying := w.char(path, counter)
	w.Call(notifying, charIface+".StartNotify")
	var fd dbus.UnixFD
	var mtu uint16
	if err := w.Call(w.char(path, echo), charIface+".AcquireWrite", map[string]dbus.Variant{}).Store(&fd, &mtu); err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "writes")
	defer file.Close()
	read := w.object(w.char(path, ble.UUID16(0xfff4))).Go(charIface+".ReadValue", 0, nil, map[string]dbus.Variant{})
	w.Get(path, deviceIface, "Connected") // the read came before
	signals, stop := w.watch(1000)
	defer stop()
	if err := w.sim.Air().Disconnect(d.ID, proxysim.ReasonTimeout); err != nil {
		t.Fatal(err)
	}
	var order []string
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for len(order) < 3 {
		select {
		case s := <-signals:
			switch {
			case s.Path != path:
			case s.Name == deviceIface+".Disconnected":
				order = append(order, fmt.Sprint("Disconnected ", s.Body[0], " ", s.Body[1]))
			case changed(s, deviceIface, "ServicesResolved") == false:
				order = append(order, "ServicesResolved false")
			case changed(s, deviceIface, "Connected") == false:
				order = append(order, "Connected false")
			}
		case <-timeout.C:
			t.Fatalf("only %q", order)
		}
	}
	want := []string{"ServicesResolved false", "Disconnected org.bluez.Reason.Timeout Connection timeout", "Connected false"}
	if !slices.Equal(order, want) {
		t.Errorf("%q, want %q", order, want)
	}
	within(t, "the pending read is answered", doneOf(read))
	if err, ok := read.Err.(dbus.Error); !ok || err.Error() != "Operation failed with ATT error: 0x0e" {
		t.Errorf("pending read: %v", read.Err)
	}
	if err := file.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if n, err := file.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the socket read %d, %v; want its end", n, err)
	}
	if v := w.Get(w.char(path, echo), charIface, "WriteAcquired"); v != false {
		t.Errorf("WriteAcquired %v", v)
	}
	if v := w.Get(notifying, charIface, "Notifying"); v != true {
		t.Errorf("Notifying %v", v)
	}
	w.link(path)
	values, stopValues := w.watch(1000, dbus.WithMatchObjectPath(notifying))
	defer stopValues()
	if err := w.sim.Air().Notify(d.ID, counterHandle, number(0), false); err != nil {
		t.Fatal(err)
	}
	w.expectNumbers(values, 1)
}

func doneOf(c *dbus.Call) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		<-c.Done
		close(done)
	}()
	return done
}

// TestImmediateReconnect: firmware that reports an end twice, or frees a slot early, does not harm the next link.
func TestImmediateReconnect(t *testing.T) {
	for _, version := range []string{"2024.6.0", "2025.5.0", "2025.11.0", "2026.10.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			d := sensor(0, "north")
			w := newWorld(t, setup{devices: []proxysim.DeviceSpec{d}, proxies: []proxysim.ProxyConfig{{Name: "north", Version: version}}})
			for i := range 30 {
				if err := w.cycle(d, func() {}); err != nil {
					t.Fatalf("cycle %d: %v", i, err)
				}
			}
		})
	}
}

// TestGhosts: a slot that is taken for a device nobody here is connected to is found and released.
func TestGhosts(t *testing.T) {
	t.Parallel()
	d := sensor(0, "north")
	w := newWorld(t, setup{devices: []proxysim.DeviceSpec{d}, proxies: []proxysim.ProxyConfig{{Name: "north"}}})
	north := w.sim.Proxy("north")
	north.Connect(nil, apiserver.ConnectRequest{Address: d.Address, HasType: true, Cached: true})
	eventually(t, "the slot is released", func() bool { return north.Slots().Free == 3 })
	w.link(devicePath(d))
	if n := w.logs.count("level=INFO", "releasing a connection that nobody here wants"); n != 1 {
		t.Errorf("%d lines, want one", n)
	}
}

// TestStopLeavesNothing: a daemon that ends leaves no slot taken, and its successor none that is not in use.
func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	var devices []proxysim.DeviceSpec
	for i := range 6 {
		devices = append(devices, sensor(i, compass...))
	}
	w := newWorld(t, setup{devices: devices})
	for _, d := range devices {
		w.link(devicePath(d))
	}
	w.stop()
	for _, p := range w.sim.Proxies() {
		if s := p.Slots(); s.Free != s.Limit {
			t.Errorf("%s has slots taken: %v", p.Name(), s.Allocated)
		}
	}
}

// TestRules: pin, prefer and deny, and what is said when nothing is left.
func TestRules(t *testing.T) {
	t.Parallel()
	a, b, c, e := sensor(0, compass...), sensor(1, compass...), sensor(2, compass...), sensor(3, "north")
	w := newWorld(t, setup{devices: []proxysim.DeviceSpec{a, b, c, e}, config: fmt.Sprintf(`devices:
  - {address: %q, pin: west}
  - {address: %q, prefer: [south, east]}
  - {address: %q, deny: [north, east]}
  - {address: %q, pin: west}
`, a.Address, b.Address, c.Address, e.Address)})
	for _, tc := range []struct {
		device proxysim.DeviceSpec
		want   string
	}{{a, "west"}, {b, "south"}, {c, "south"}} {
		w.link(devicePath(tc.device))
		if h := w.holder(tc.device); h != tc.want {
			t.Errorf("%s is linked through %q, want %s", tc.device.ID, h, tc.want)
		}
	}
	w.fails(devicePath(e), deviceIface+".Connect", "org.bluez.Error.Failed", []string{"north: ruled out by configuration"})
}

// TestNoSlot: with on_no_slot fail a Connect without a free slot fails at once, with the words that clients look for.
func TestNoSlot(t *testing.T) {
	t.Parallel()
	a, b := sensor(0, "north"), sensor(1, "north")
	w := newWorld(t, setup{
		devices: []proxysim.DeviceSpec{a, b}, proxies: []proxysim.ProxyConfig{{Name: "north", Slots: 1}},
		entry: map[string]string{"north": ", on_no_slot: fail"},
	})
	w.link(devicePath(a))
	w.fails(devicePath(b), deviceIface+".Connect", "org.bluez.Error.Failed", []string{"connection slot"})
	w.Call(devicePath(a), deviceIface+".Disconnect")
	w.link(devicePath(b))
}
