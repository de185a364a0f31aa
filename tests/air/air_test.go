package air

import (
	"fmt"
	"net"
	"path"
	"strconv"
	"testing"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

// start runs two simulated proxies, which are configured to scan actively, and a daemon with an adapter for each. The
// daemon can be started again, with the state of the first.
func start(t *testing.T) (sim *harness.Proc, addrs map[string]string, bus *harness.Bus, again func() *harness.Bus) {
	t.Helper()
	sim, addrs = harness.Simulate(t, "", "kitchen=127.0.0.1:0", "garage=127.0.0.1:0")
	config := fmt.Sprintf(`
adapters: per-proxy
proxies:
  - {name: kitchen, address: %q}
  - {name: garage, address: %q}
`, addrs["kitchen"], addrs["garage"])
	place := harness.NewPlace(t)
	again = func() *harness.Bus { return place.Run(t, config) }
	return sim, addrs, again(), again
}

func python(t *testing.T, bus *harness.Bus, script string, args ...string) *harness.Proc {
	t.Helper()
	var env []string
	if bus != nil {
		env = bus.Env()
	}
	return harness.Start(t, env, harness.Python(t), append([]string{harness.Path(t, "tests", "air", "clients", script)}, args...)...)
}

// TestAdaptersOfProxies: bleak and bluetoothctl on hci0 and on a proxy's own adapter; who scans actively for whom.
func TestAdaptersOfProxies(t *testing.T) {
	t.Parallel()
	_, _, bus, _ := start(t)
	c := newClient(t, bus)
	kitchen, garage := c.hci()
	c.modes("passive", "passive")
	for _, a := range []struct {
		path     dbus.ObjectPath
		lo, hi   int
		kitchen  string
		garage   string
		describe string
	}{
		{"/org/bluez/hci0", -60, -45, "active", "active", "merged"},
		{garage, -85, -70, "passive", "active", "the garage's"},
	} {
		p := python(t, bus, "scan.py", path.Base(string(a.path)), pulse, ibeacon)
		rssi := func(pattern string) {
			t.Helper()
			m := p.Out.Expect(t, pattern)
			n, _ := strconv.Atoi(m[1])
			if n < a.lo || n > a.hi || m[2] != string(a.path)+"/"+pulseID {
				t.Errorf("%s adapter: %s at %d dBm, want %d to %d", a.describe, m[2], n, a.lo, a.hi)
			}
		}
		// The iBeacon sends other flags. The name of the sensor is in its advertisement, or in the scan response.
		rssi(`(?m)^active ` + pulse + ` (-\d+) Pulse HR-1 False (\S+)$`)
		c.modes(a.kitchen, a.garage) // the scan modes have not changed since
		rssi(`(?m)^passive ` + pulse + ` (-\d+) \[65535\] False (\S+)$`)
		if status := p.Wait(t, harness.Limit); status != 0 {
			t.Fatalf("bleak's status %d:\n%s", status, p.Err)
		}
		c.modes("passive", "passive")
	}

	ctl := harness.StartTerminal(t, bus.Env(), "bluetoothctl")
	say := func(line string, patterns ...string) {
		t.Helper()
		ctl.Send(t, line)
		for _, p := range patterns {
			ctl.Out.Expect(t, p)
		}
	}
	ctl.Out.Expect(t, `Agent registered`)
	merged, own := c.Get("/org/bluez/hci0", adapterIface, "Address"), c.Get(kitchen, adapterIface, "Address")
	say("list", fmt.Sprintf(`Controller %s \S.* \[default\]`, merged), `Controller `)
	say(fmt.Sprintf("select %s", own), `Controller \S+ kitchen `)
	say("show", fmt.Sprintf(`Controller %s \(public\)`, own), `Alias: kitchen`, `Powered: yes`, `Advertisement Monitor Features|Roles: central`)
	say("scan le", fmt.Sprintf(`Controller %s Discovering: yes`, own), `\[NEW\] Device `+ibeacon)
	c.modes("active", "passive")
	say("scan off", `Discovery stopped`)
	c.modes("passive", "passive")
	// bluetoothctl keeps its monitors on the adapter that is listed first.
	say("menu monitor", `Menu monitor`)
	say("add-or-pattern 0 1 06", `Advertisement Monitor 0 added`)
	ctl.Out.Expect(t, `Advertisement monitor 0 found device /org/bluez/hci0/`+pulseID)
	if c.Get(kitchen+"/"+pulseID, deviceIface, "RSSI") != nil || c.Get("/org/bluez/hci0", adapterIface, "Discovering") != false {
		t.Error("the monitor of one adapter concerns another, or counts as discovery")
	}
	c.modes("passive", "passive")
	say("remove-pattern 0", `Monitor 0 deleted`)
	say("quit")
}

// TestClientsTogether: two clients with conflicting filters, then one is killed, then the other; a link is one under
// every adapter.
func TestClientsTogether(t *testing.T) {
	t.Parallel()
	_, _, bus, _ := start(t)
	c, picky := newClient(t, bus), newClient(t, bus)
	kitchen, garage := c.hci()
	hci0 := dbus.ObjectPath("/org/bluez/hci0")
	seen := func(dev string) any { return c.Get(hci0+"/"+dbus.ObjectPath(dev), deviceIface, "RSSI") != nil }

	picky.Call(hci0, adapterIface+".SetDiscoveryFilter", map[string]dbus.Variant{
		"Pattern": dbus.MakeVariant("Pulse"), "RSSI": dbus.MakeVariant(int16(-70)),
	})
	picky.Call(hci0, adapterIface+".StartDiscovery")
	c.becomes("the sensor", true, func() any { return seen(pulseID) })
	if seen("dev_D2_77_31_10_00_05") == true {
		t.Error("a device that no filter lets pass")
	}
	killed := harness.Start(t, bus.Env(), harness.Python(t), "-c", discoverForever)
	killed.Out.Expect(t, `discovering`)
	c.becomes("the iBeacon, which the other client wants", true, func() any { return seen("dev_D2_77_31_10_00_05") })
	if err := picky.Try(hci0, adapterIface+".StartDiscovery").Err; err == nil || err.(dbus.Error).Name != "org.bluez.Error.InProgress" {
		t.Errorf("a second StartDiscovery: %v", err)
	}
	killed.Signal(t, 9)
	killed.Wait(t, harness.Limit)
	c.modes("active", "active")
	if c.Get(hci0, adapterIface, "Discovering") != true || seen(pulseID) != true {
		t.Error("the end of one client's discovery ended the other's")
	}
	_ = picky.Conn.Close()
	c.property(hci0, adapterIface, "Discovering", false)
	c.becomes("RSSI after the last discovery", false, func() any { return seen(pulseID) })
	if c.Get(hci0+"/dev_D2_77_31_10_00_05", deviceIface, "Address") != nil {
		t.Error("a beacon stayed after the last discovery")
	}
	c.modes("passive", "passive")

	// Through the garage only, though the kitchen is nearer; the others see the link and keep it.
	c.Call(garage, adapterIface+".StartDiscovery")
	c.Call(kitchen, adapterIface+".StartDiscovery")
	for _, hci := range []dbus.ObjectPath{garage, kitchen} {
		c.becomes("the sensor on "+string(hci), true, func() any { return c.Get(hci+"/"+pulseID, deviceIface, "RSSI") != nil })
	}
	c.Call(garage+"/"+pulseID, deviceIface+".Connect")
	for _, hci := range []dbus.ObjectPath{hci0, kitchen, garage} {
		c.property(hci+"/"+pulseID, deviceIface, "ServicesResolved", true)
		c.property(hci+"/"+pulseID, deviceIface, "Connected", true)
		if c.Get(hci+"/"+pulseID+"/service0010", "org.bluez.GattService1", "UUID") == nil && c.Get(hci+"/"+pulseID+"/service0001", "org.bluez.GattService1", "UUID") == nil {
			t.Errorf("%s has no services", hci)
		}
	}
	c.Call(kitchen+"/"+pulseID, deviceIface+".Connect")
	allocated := func(proxy string) string {
		return fmt.Sprint(c.Get(dbus.ObjectPath("/bluez_esphome/proxy/"+proxy), proxyIface, "Allocated"))
	}
	c.becomes("slots", "[] ["+pulse+"]", func() any { return allocated("kitchen") + " " + allocated("garage") })
	c.Call(kitchen+"/"+pulseID, properties+".Set", deviceIface, "Alias", dbus.MakeVariant("Heart"))
	c.Call(kitchen+"/"+pulseID, properties+".Set", deviceIface, "Trusted", dbus.MakeVariant(true))
	c.property(garage+"/"+pulseID, deviceIface, "Alias", "Heart")
	c.property(hci0+"/"+pulseID, deviceIface, "Trusted", true)
	// The kitchen's adapter goes off: the link was not made through it.
	c.Call(kitchen, properties+".Set", adapterIface, "Powered", dbus.MakeVariant(false))
	c.property(kitchen, adapterIface, "Discovering", false)
	if c.Get(garage+"/"+pulseID, deviceIface, "Connected") != true {
		t.Error("powering off another adapter ended the link")
	}
	c.Call(garage, properties+".Set", adapterIface, "Powered", dbus.MakeVariant(false))
	c.property(hci0+"/"+pulseID, deviceIface, "Connected", false)
}

const discoverForever = `
import asyncio
from bleak import BleakScanner
async def main():
    async with BleakScanner(bluez={"adapter": "hci0"}):
        print("discovering", flush=True)
        await asyncio.sleep(3600)
asyncio.run(main())
`

// TestModeRestored: at SIGTERM the proxies scan as they are configured again; and in the next run their adapters are
// there although they are not.
func TestModeRestored(t *testing.T) {
	t.Parallel()
	sim, addrs, bus, again := start(t)
	c := newClient(t, bus)
	kitchen, garage := c.hci()
	c.modes("passive", "passive")
	address := c.Get(kitchen, adapterIface, "Address")
	bus.Daemon.Signal(t, 15)
	if status := bus.Daemon.Wait(t, harness.Limit); status != 0 {
		t.Errorf("status %d after SIGTERM", status)
	}
	for name, addr := range addrs {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		p := python(t, nil, "scan_mode.py", host, port)
		if m := p.Out.Expect(t, `mode (\S+) configured (\S+)`); m[1] != "ACTIVE" || m[2] != "ACTIVE" {
			t.Errorf("%s: %s", name, m[0])
		}
		p.Wait(t, harness.Limit)
	}

	sim.Stop(t)
	c = newClient(t, again())
	for _, hci := range []dbus.ObjectPath{kitchen, garage} {
		if c.Get(hci, adapterIface, "Powered") != false {
			t.Errorf("%s: Powered is %v while the proxy is offline", hci, c.Get(hci, adapterIface, "Powered"))
		}
		if err := c.Try(hci, adapterIface+".StartDiscovery").Err; err == nil || err.(dbus.Error).Name != "org.bluez.Error.NotReady" {
			t.Errorf("StartDiscovery on %s: %v", hci, err)
		}
	}
	if got := c.Get(kitchen, adapterIface, "Address"); got != address || c.Get(kitchen, adapterIface, "Alias") != "kitchen" {
		t.Errorf("%s is %v, was %v", kitchen, got, address)
	}
	c.property("/org/bluez/hci0", adapterIface, "Powered", true)
}
