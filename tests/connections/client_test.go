package connections

import (
	"context"
	"errors"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

const (
	adapterPath    = dbus.ObjectPath("/org/bluez/hci0")
	adapterIface   = "org.bluez.Adapter1"
	deviceIface    = "org.bluez.Device1"
	charIface      = "org.bluez.GattCharacteristic1"
	extensionIface = "org.bluez_esphome.Device1"
	properties     = "org.freedesktop.DBus.Properties"
	objectManager  = "org.freedesktop.DBus.ObjectManager"
)

// client is one program on the bus.
type client struct{ *harness.Client }

// connect connects another client.
func (w *world) connect() *client {
	w.t.Helper()
	c := &client{(&harness.Bus{Address: w.bus}).Client(w.t)}
	c.Limit = limit
	return c
}

func (c *client) object(path dbus.ObjectPath) dbus.BusObject { return c.Conn.Object("org.bluez", path) }

// watch gives the signals of org.bluez from now on; stop ends that.
func (c *client) watch(size int, opts ...dbus.MatchOption) (signals chan *dbus.Signal, stop func()) {
	c.T.Helper()
	opts = append([]dbus.MatchOption{dbus.WithMatchSender("org.bluez")}, opts...)
	signals = make(chan *dbus.Signal, size)
	c.Conn.Signal(signals)
	if err := c.Conn.AddMatchSignal(opts...); err != nil {
		c.T.Fatal(err)
	}
	return signals, func() {
		c.Conn.RemoveSignal(signals)
		_ = c.Conn.RemoveMatchSignal(opts...)
	}
}

// changed is the new value of a property that s reports, or nil.
func changed(s *dbus.Signal, iface, name string) any {
	if s.Name != properties+".PropertiesChanged" || s.Body[0] != iface {
		return nil
	}
	if v, ok := s.Body[1].(map[string]dbus.Variant)[name]; ok {
		return v.Value()
	}
	return nil
}

// resolved waits until the services of a device are resolved, or ctx ends.
func (c *client) resolved(ctx context.Context, path dbus.ObjectPath) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if v := c.Get(path, deviceIface, "ServicesResolved"); v == true {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("the services were not resolved in time")
		}
	}
}

// link connects and waits for the services.
func (c *client) link(path dbus.ObjectPath) {
	c.T.Helper()
	c.Call(path, deviceIface+".Connect")
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := c.resolved(ctx, path); err != nil {
		c.T.Fatal(err)
	}
}

// char is the path of the characteristic of a device with that UUID.
func (c *client) char(device dbus.ObjectPath, uuid ble.UUID) dbus.ObjectPath {
	c.T.Helper()
	for path, ifaces := range c.Objects() {
		if ch, ok := ifaces[charIface]; ok && len(path) > len(device) && path[:len(device)] == device && ch["UUID"].Value() == uuid.String() {
			return path
		}
	}
	c.T.Fatalf("%s has no characteristic %s", device, uuid)
	return ""
}

func devicePath(d proxysim.DeviceSpec) dbus.ObjectPath {
	s := []byte(d.Address.String())
	for i := range s {
		if s[i] == ':' {
			s[i] = '_'
		}
	}
	return adapterPath + "/dev_" + dbus.ObjectPath(s)
}

// Characteristics of a sensor.
var (
	echo    = ble.UUID16(0xfff1) // read, write, write without response
	counter = ble.UUID16(0xfff2) // notify
	event   = ble.UUID16(0xfff3) // indicate
)

// sensor is a peripheral that the proxies hear at -50, -60, … dBm.
func sensor(n int, proxies ...string) proxysim.DeviceSpec {
	zero := uint8(6)
	d := proxysim.DeviceSpec{
		ID: "sensor" + string(rune('A'+n/26)) + string(rune('a'+n%26)), Address: 0x00AA02000000 + ble.Address(n), AddressType: "public",
		Connectable: true, MTU: 247, RSSI: map[string]int8{},
		Advert: proxysim.AdvertSpec{Flags: &zero, LocalName: "Sensor", IntervalMS: 50},
	}
	for i, p := range proxies {
		d.RSSI[p] = int8(-50 - 10*i)
	}
	d.GATT.Services = []proxysim.ServiceSpec{
		{UUID: ble.UUID16(0x1800), Characteristics: []proxysim.CharSpec{
			{UUID: ble.UUIDDeviceName, Properties: []string{"read"}, Value: []byte("Sensor")},
		}},
		{UUID: ble.UUID16(0xfff0), Characteristics: []proxysim.CharSpec{
			{UUID: echo, Properties: []string{"read", "write", "write-without-response"}, Value: []byte("hello")},
			{UUID: counter, Properties: []string{"notify"}, Descriptors: []proxysim.DescSpec{{UUID: ble.UUIDCCCD, Value: []byte{0, 0}, Writable: true}}},
			{UUID: event, Properties: []string{"indicate"}, Descriptors: []proxysim.DescSpec{{UUID: ble.UUIDCCCD, Value: []byte{0, 0}, Writable: true}}},
		}},
	}
	return d
}

// Value handles of a sensor.
const (
	echoHandle    = 6
	counterHandle = 8
	eventHandle   = 11
)

// holder is the proxy with a slot for a device, "" if none.
func (w *world) holder(d proxysim.DeviceSpec) string {
	for _, p := range w.sim.Proxies() {
		if slices.Contains(p.Slots().Allocated, d.Address) {
			return p.Name()
		}
	}
	return ""
}
