package air

import (
	"fmt"
	"testing"
	"time"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

const (
	adapterIface  = "org.bluez.Adapter1"
	deviceIface   = "org.bluez.Device1"
	proxyIface    = "org.bluez_esphome.Proxy1"
	properties    = "org.freedesktop.DBus.Properties"
	objectManager = "org.freedesktop.DBus.ObjectManager"
)

// The demo's devices that matter here. The kitchen hears the sensor at -52 dBm and the garage at -79; only the kitchen
// hears the iBeacon.
const (
	pulse   = "C8:2B:96:10:00:01"
	pulseID = "dev_C8_2B_96_10_00_01"
	ibeacon = "D2:77:31:10:00:05"
)

// client is a connection to the bus.
type client struct{ *harness.Client }

func newClient(t testing.TB, bus *harness.Bus) *client { return &client{bus.Client(t)} }

// becomes waits until what f gives is what is wanted; it asks again after every signal.
func (c *client) becomes(what string, want any, f func() any) {
	c.T.Helper()
	signals := make(chan *dbus.Signal, 1000)
	c.Conn.Signal(signals)
	defer c.Conn.RemoveSignal(signals)
	match := dbus.WithMatchSender("org.bluez")
	if err := c.Conn.AddMatchSignal(match); err != nil {
		c.T.Fatal(err)
	}
	defer func() { _ = c.Conn.RemoveMatchSignal(match) }()
	limit := time.NewTimer(harness.Limit)
	defer limit.Stop()
	for {
		got := f()
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		select {
		case <-signals:
		case <-limit.C:
			c.T.Fatalf("%s is %v, want %v", what, got, want)
		}
	}
}

// property waits for the value of a property.
func (c *client) property(path dbus.ObjectPath, iface, name string, want any) {
	c.T.Helper()
	c.becomes(string(path)+" "+name, want, func() any { return c.Get(path, iface, name) })
}

// modes waits until the proxies scan in those modes, kitchen first.
func (c *client) modes(want ...string) {
	c.T.Helper()
	c.becomes("ScanMode", want, func() any {
		return []any{c.Get("/bluez_esphome/proxy/kitchen", proxyIface, "ScanMode"), c.Get("/bluez_esphome/proxy/garage", proxyIface, "ScanMode")}
	})
}

// hci gives the adapter of each proxy.
func (c *client) hci() (kitchen, garage dbus.ObjectPath) {
	c.T.Helper()
	c.becomes("adapters of proxies", 2, func() any {
		kitchen, garage = "", ""
		n := 0
		for path, ifaces := range c.Objects() {
			switch ifaces["org.bluez_esphome.Radio1"]["Proxy"].Value() {
			case dbus.ObjectPath("/bluez_esphome/proxy/kitchen"):
				kitchen = path
				n++
			case dbus.ObjectPath("/bluez_esphome/proxy/garage"):
				garage = path
				n++
			}
		}
		return n
	})
	return kitchen, garage
}
