package vm

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/godbus/dbus/v5"
)

// pair pairs with the main device.
func (m *machine) pair(n int) {
	m.t.Helper()
	m.Call(on(n, ""), device1+".Pair")
	m.Until(on(n, ""), device1, "Paired", true)
}

// key checks whether the key that the host keeps for the main device is one of legacy pairing, which has an EDIV.
func (m *machine) key(legacy bool) {
	m.t.Helper()
	adapter, _ := m.Get(adapterPath(0), adapter1, "Address").(string)
	var text []byte
	m.Eventually("the host keeps the key", func() bool {
		text, _ = os.ReadFile(filepath.Join("/var/lib/bluetooth", adapter, mainAddress, "info"))
		return strings.Contains(string(text), "\nEDiv=")
	})
	if got := !strings.Contains(string(text), "\nEDiv=0\n"); got != legacy {
		m.t.Errorf("a key of legacy pairing is %v, want %v", got, legacy)
	}
}

func (m *machine) encrypted(n int) {
	m.t.Helper()
	if got := m.read(on(n, "/service003a/char003b")); string(got) != "secret" {
		m.t.Errorf("read %q", got)
	}
}

func (m *machine) power(on bool) {
	m.t.Helper()
	m.Call(adapterPath(0), "org.freedesktop.DBus.Properties.Set", adapter1, "Powered", dbus.MakeVariant(on))
	m.Until(adapterPath(0), adapter1, "Powered", on)
}

// legacy: a host without Secure Connections gets a key of legacy pairing, and reconnects with it.
func (m *machine) legacy() {
	m.power(false)
	m.btmgmt("sc", "off")
	m.power(true)
	m.connect(0)
	m.pair(0)
	m.key(true)
	m.encrypted(0)
	m.disconnect(0)
	m.connect(0)
	m.encrypted(0)
	m.Call(adapterPath(0), adapter1+".RemoveDevice", on(0, ""))
	m.power(false)
	m.btmgmt("sc", "on")
	m.power(true)
}

// late: a device that was heard a moment ago does not answer. The host is told of a connection all the same, since it
// waits only 4 s for one; its first request waits until the device answers.
func (m *machine) late() {
	m.discover(0)
	m.tell(`{"op":"advertise","on":false}`)
	before := m.daemon.Err.Count(`The host is connected`)
	call := m.Conn.Object("org.bluez", on(0, "")).Go(device1+".Connect", 0, nil)
	m.Eventually("the host is told of the connection", func() bool { return m.daemon.Err.Count(`The host is connected`) > before })
	m.tell(`{"op":"advertise","on":true}`)
	if err := (<-call.Done).Err; err != nil {
		m.t.Fatal(err)
	}
	m.Until(on(0, ""), device1, "ServicesResolved", true)
	m.disconnect(0)
}

// many: discovery starts and stops again and again, with connections in between, as if several programs used the
// adapter.
func (m *machine) many() {
	for range 5 {
		m.Call(adapterPath(0), adapter1+".StartDiscovery")
		m.Eventually("the device is there", func() bool { _, is := m.Objects()[on(0, "")]; return is })
		m.Call(on(0, ""), device1+".Connect")
		m.Until(on(0, ""), device1, "ServicesResolved", true)
		m.disconnect(0)
		m.Call(adapterPath(0), adapter1+".StopDiscovery")
	}
}
