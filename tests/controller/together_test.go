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

// TestTogether: a device that a program on D-Bus has connected is the controller's host's, too: it joins the link, both
// are listed as its holders, and nothing that it ends is ended for the program.
func TestTogether(t *testing.T) {
	t.Parallel()
	place := harness.NewPlace(t)
	controls := filepath.Join(place.Dir, "control")
	sim := harness.Start(t, place.Env(), harness.Binary(), "simulate", "--peripherals",
		harness.Path(t, "internal", "proxysim", "testdata", "golden-peripheral.json"), "--proxy", "kitchen=127.0.0.1:0", "--control", controls)
	addr := sim.Out.Expect(t, `proxy (\S+) listens on (\S+)`)[2]
	socket := filepath.Join(place.Dir, "hci.sock")
	bus := place.Run(t, fmt.Sprintf("proxies: [{address: %q, name: kitchen}]\nhci: [{unix: %s}]\n", addr, socket))
	program := bus.Client(t)
	program.Call("/org/bluez/hci0", "org.bluez.Adapter1.StartDiscovery")
	program.Until(mainPath, device1, "Address", "00:AA:01:01:00:01")
	program.Call(mainPath, device1+".Connect")
	program.Until(mainPath, device1, "ServicesResolved", true)
	program.Call("/org/bluez/hci0", "org.bluez.Adapter1.StopDiscovery")
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
	notify := func(value string) {
		t.Helper()
		harness.Tell(t, filepath.Join(controls, "main.sock"), `{"op":"notify","handle":37,"value":"`+value+`","indicate":false}`)
	}
	heard := func(value byte) {
		t.Helper()
		program.Eventually(fmt.Sprintf("the program has value %d", value), func() bool {
			v, _ := program.Get(notified, "org.bluez.GattCharacteristic1", "Value").([]byte)
			return len(v) == 1 && v[0] == value
		})
	}
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
