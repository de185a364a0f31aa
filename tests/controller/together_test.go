package controller

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

const (
	mainPath = dbus.ObjectPath("/org/bluez/hci0/dev_00_AA_01_01_00_01")
	notified = mainPath + "/service0018/char0024" // value handle 37
	device1  = "org.bluez.Device1"
)

// fronts is a daemon with D-Bus, a controller and a shared proxy.
type fronts struct {
	place            harness.Place
	controls, socket string
	bus              *harness.Bus
	shared           string // address at which other hosts reach the proxy
}

// newFronts starts the daemon. share is further text for its share option.
func newFronts(t *testing.T, share string) *fronts {
	t.Helper()
	w := &fronts{place: harness.NewPlace(t)}
	w.controls, w.socket = filepath.Join(w.place.Dir, "control"), filepath.Join(w.place.Dir, "hci.sock")
	sim := harness.Start(t, w.place.Env(), harness.Binary(), "simulate", "--peripherals", recorded(t), "--proxy", "kitchen=127.0.0.1:0", "--control", w.controls)
	addr := sim.Out.Expect(t, `proxy (\S+) listens on (\S+)`)[2]
	w.bus = w.place.Run(t, fmt.Sprintf(
		"log: {level: debug}\nproxies: [{address: %q, name: kitchen}]\nhci: [{unix: %s}]\nshare: {listen: 127.0.0.1, base_port: %d%s}\n",
		addr, w.socket, harness.FreePort(t), share))
	w.shared = w.bus.Daemon.Err.Expect(t, `The proxy is shared.* address=(\S+)`)[1]
	return w
}

// discover has a program discover until it finds the device; the discovery goes on.
func discover(p *harness.Client) {
	p.T.Helper()
	p.Call("/org/bluez/hci0", "org.bluez.Adapter1.StartDiscovery")
	p.Until(mainPath, device1, "Address", "00:AA:01:01:00:01")
}

// connect has a program find the device and connect to it.
func connect(p *harness.Client) {
	p.T.Helper()
	discover(p)
	p.Call(mainPath, device1+".Connect")
	p.Until(mainPath, device1, "ServicesResolved", true)
	p.Call("/org/bluez/hci0", "org.bluez.Adapter1.StopDiscovery")
}

// notify has the device notify a value of one byte.
func (w *fronts) notify(t *testing.T, value string) {
	t.Helper()
	harness.Tell(t, filepath.Join(w.controls, "main.sock"), `{"op":"notify","handle":37,"value":"`+value+`","indicate":false}`)
}

// owners names those who hold the link, as the daemon says.
func (w *fronts) owners(p *harness.Client) []string {
	var links []map[string]dbus.Variant
	v := p.Get("/bluez_esphome/proxy/kitchen", "org.bluez_esphome.Proxy1", "Links")
	if err := dbus.Store([]any{v}, &links); err != nil || len(links) != 1 {
		return nil
	}
	owners, _ := links[0]["Owners"].Value().([]string)
	return owners
}

// has waits until a program has got a value of one byte.
func has(p *harness.Client, value byte) {
	p.T.Helper()
	p.Eventually(fmt.Sprintf("the program has value %d", value), func() bool {
		v, _ := p.Get(notified, "org.bluez.GattCharacteristic1", "Value").([]byte)
		return len(v) == 1 && v[0] == value
	})
}

// TestTogether: the host of a controller can use a device that a program on D-Bus has connected. It joins the link, and
// the daemon lists both as its holders. When the host unsubscribes or disconnects, nothing changes for the program.
func TestTogether(t *testing.T) {
	t.Parallel()
	w := newFronts(t, "")
	place, socket, bus := w.place, w.socket, w.bus
	program := bus.Client(t)
	connect(program)
	program.Call(notified, "org.bluez.GattCharacteristic1.StartNotify")

	guest := harness.Start(t, place.Env(), harness.Python(t), harness.Path(t, "tests", "controller", "bumble_guest.py"), "unix:"+socket)
	guest.Out.Expect(t, `(?m)^NAME GoldenTest1$`)
	guest.Out.Expect(t, `(?m)^READY$`)
	cmd := exec.Command(harness.Binary(), "status", "--json", "--bus", bus.Address)
	cmd.Env = append(cmd.Environ(), place.Env()...)
	status, err := cmd.Output()
	if err != nil || !strings.Contains(string(status), "controller unix:"+socket) || !strings.Contains(string(status), `"D-Bus"`) {
		t.Errorf("status: %v\n%s", err, status)
	}
	for _, part := range []string{`"scanning": "off"`, `"links": [`} {
		if _, controllers, _ := strings.Cut(string(status), `"controllers"`); !strings.Contains(controllers, part) {
			t.Errorf("status does not show the controller with %s:\n%s", part, controllers)
		}
	}
	notify := func(value string) { t.Helper(); w.notify(t, value) }
	heard := func(value byte) { t.Helper(); has(program, value) }
	notify("01")
	guest.Out.Expect(t, `(?m)^GOT 01$`)
	heard(1)
	guest.Send(t, "unsubscribe")
	guest.Out.Expect(t, `(?m)^DONE unsubscribe$`)
	notify("02")
	heard(2)
	guest.Send(t, "disconnect")
	guest.Out.Expect(t, `(?m)^DONE disconnect$`)
	if code := guest.Wait(t, limit); code != 0 {
		t.Errorf("the host exited with %d", code)
	}
	if guest.Out.Count(`GOT 02`) != 0 {
		t.Error("the host was told what it had unsubscribed")
	}
	notify("03")
	heard(3)
	if program.Get(mainPath, device1, "Connected") != true {
		t.Error("the program's link ended with the host's")
	}
}

// TestThreeFronts: a program on D-Bus, the host of a controller and a host that shares the proxy hold one link, which
// uses one slot. Each gets the notifications that it subscribed to, and none that leaves ends anything for the others.
func TestThreeFronts(t *testing.T) {
	t.Parallel()
	w := newFronts(t, "")
	program := w.bus.Client(t)
	discover(program) // first: a connected device does not advertise, and would get no object
	friend := harness.Run(t, fmt.Sprintf("proxies: [{address: %q, name: shared}]\n", w.shared)).Client(t)
	connect(friend)
	program.Call(mainPath, device1+".Connect")
	program.Until(mainPath, device1, "ServicesResolved", true)
	program.Call(notified, "org.bluez.GattCharacteristic1.StartNotify")
	guest := harness.Start(t, w.place.Env(), harness.Python(t), harness.Path(t, "tests", "controller", "bumble_guest.py"), "unix:"+w.socket)
	guest.Out.Expect(t, `(?m)^READY$`)
	if owners := w.owners(program); len(owners) != 3 {
		t.Errorf("the link is held by %q", owners)
	}
	friend.Call(notified, "org.bluez.GattCharacteristic1.StartNotify")
	if used := program.Get("/bluez_esphome/proxy/kitchen", "org.bluez_esphome.Proxy1", "SlotFree"); used != uint16(2) {
		t.Errorf("%v of 3 slots are free", used)
	}
	w.notify(t, "01")
	guest.Out.Expect(t, `(?m)^GOT 01$`)
	has(program, 1)
	has(friend, 1)
	guest.Send(t, "unsubscribe")
	guest.Send(t, "disconnect")
	guest.Out.Expect(t, `(?m)^DONE disconnect$`)
	w.notify(t, "02")
	has(program, 2)
	has(friend, 2)
	program.Call(mainPath, device1+".Disconnect")
	program.Until(mainPath, device1, "Connected", false)
	w.notify(t, "03")
	has(friend, 3)
	if owners := w.owners(program); len(owners) != 1 || owners[0] == "D-Bus" {
		t.Errorf("the link is held by %q", owners)
	}
}

// TestInUse: with in_use: refuse, the host of a controller cannot use a device that a program has. The host waits, as
// for a device that is away, and gets the device when the program lets go. After that, the program cannot use it.
func TestInUse(t *testing.T) {
	t.Parallel()
	w := newFronts(t, ", in_use: refuse")
	program := w.bus.Client(t)
	connect(program)
	host := dial(t, w.socket)
	host.say("01030c00")
	host.until("040e0401030c00")
	host.say("010d2019" + "6000600000" + "00" + "01000101aa00" + "00" + "180028000000" + "2a00" + "00000000")
	host.until("040f0400010d20")
	w.bus.Daemon.Err.Expect(t, `A connection failed; waiting for the device.*another host that shares the proxies uses the device`)
	if owners := w.owners(program); len(owners) != 1 || owners[0] != "D-Bus" {
		t.Errorf("the link is held by %q", owners)
	}
	program.Call(mainPath, device1+".Disconnect")
	host.until("043e1301" + "00") // LE Connection Complete: success
	program.Eventually("the host holds the link", func() bool {
		owners := w.owners(program)
		return len(owners) == 1 && owners[0] == "controller unix:"+w.socket
	})
	if err := program.Try(mainPath, device1+".Connect").Err; err == nil {
		t.Error("the program connects to a device that is in use")
	}
}
