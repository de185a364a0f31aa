package air

import (
	"fmt"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

// TestTenProxies: eight get an adapter of their own, with one warning for the others; what scan_mode fixes stays; and a
// table that is too small says so.
func TestTenProxies(t *testing.T) {
	t.Parallel()
	var specs []string
	for i := range 10 {
		specs = append(specs, fmt.Sprintf("p%d=127.0.0.1:0", i))
	}
	_, addrs := harness.Simulate(t, "", specs...)
	config := "adapters: per-proxy\nmax_devices: 4\nproxies:\n"
	for i := range 10 {
		mode := "auto"
		switch i {
		case 0:
			mode = "active"
		case 1:
			mode = "passive"
		}
		config += fmt.Sprintf("  - {name: p%d, address: %q, scan_mode: %s}\n", i, addrs[fmt.Sprintf("p%d", i)], mode)
	}
	bus := harness.Run(t, config)
	c := newClient(t, bus)
	adapters := func() any {
		var names []string
		for n := range 12 {
			if c.Get(dbus.ObjectPath(fmt.Sprintf("/org/bluez/hci%d", n)), adapterIface, "Powered") == true {
				names = append(names, fmt.Sprint("hci", n))
			}
		}
		return names
	}
	c.becomes("adapters", "[hci0 hci1 hci2 hci3 hci4 hci5 hci6 hci7 hci8]", adapters)
	bus.Daemon.Err.Expect(t, `More than 8 proxies`)
	modes := func(want string) {
		t.Helper()
		c.becomes("ScanMode", want, func() any {
			var modes []any
			for i := range 10 {
				modes = append(modes, c.Get(dbus.ObjectPath(fmt.Sprintf("/bluez_esphome/proxy/p%d", i)), proxyIface, "ScanMode"))
			}
			return modes
		})
	}
	eight := func(mode string) string { return strings.Repeat(" "+mode, 8) }
	modes("[active passive" + eight("passive") + "]")
	c.Call("/org/bluez/hci0", adapterIface+".StartDiscovery")
	modes("[active passive" + eight("active") + "]")
	c.becomes("hits of max_devices", true, func() any {
		dropped, _ := c.Get("/org/bluez/hci0", "org.bluez_esphome.Radio1", "Dropped").(uint64)
		return dropped > 0
	})
	status := harness.Start(t, bus.Env(), harness.Binary(), "status")
	status.Out.Expect(t, `hci0: the table of devices is full \(max_devices: 4\)`)
	c.Call("/org/bluez/hci0", adapterIface+".StopDiscovery")
	modes("[active passive" + eight("passive") + "]")
	if n := bus.Daemon.Err.Count(`More than 8 proxies`); n != 1 {
		t.Errorf("%d warnings of too many proxies", n)
	}
}
