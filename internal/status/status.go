// Package status asks a running daemon over D-Bus what its proxies do and
// what they hear, as any client could.
package status

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"bluez-esphome/internal/privatebus"

	"github.com/godbus/dbus/v5"
)

// A Report is what a daemon says of itself.
type Report struct {
	Bus     string  `json:"bus"`
	Proxies []Proxy `json:"proxies"`
	// Adapters are there with daemons that tell how full their tables are.
	Adapters []Adapter `json:"adapters,omitempty"`
	Devices  []Device  `json:"devices"`
}

// An Adapter is one view of what the proxies hear: how many devices are in its table now, how many may be, and
// how many had to make room since the start.
type Adapter struct {
	Name       string `json:"name"`
	Proxy      string `json:"proxy,omitempty"` // "" is the merged one, or its proxy was not online yet
	Devices    uint32 `json:"devices"`
	MaxDevices uint32 `json:"max_devices"`
	Dropped    uint64 `json:"dropped"`
}

// A Proxy is one configured proxy. Times are in seconds since 1970, 0 never.
type Proxy struct {
	Name             string   `json:"name"`
	Host             string   `json:"host"`
	State            string   `json:"state"`
	LastError        string   `json:"last_error,omitempty"`
	ESPHomeVersion   string   `json:"esphome_version,omitempty"`
	Features         []string `json:"features"`
	BluetoothAddress string   `json:"bluetooth_address,omitempty"`
	ScanMode         string   `json:"scan_mode,omitempty"`
	SlotLimit        uint16   `json:"slot_limit"`
	SlotFree         uint16   `json:"slot_free"`
	Allocated        []string `json:"allocated"`
	LastHeard        uint64   `json:"last_heard"`
}

// A Device is one Device1 object.
type Device struct {
	Address   string   `json:"address"`
	Name      string   `json:"name,omitempty"`
	Alias     string   `json:"alias"`
	Adapter   string   `json:"adapter"`
	RSSI      *int16   `json:"rssi,omitempty"`
	Connected bool     `json:"connected"`
	Paired    bool     `json:"paired"`
	Sources   []Source `json:"sources"`
}

// A Source is a proxy that hears a device.
type Source struct {
	Proxy      string `json:"proxy"`
	RSSI       int16  `json:"rssi"`
	LastHeard  uint64 `json:"last_heard"`
	IntervalMs uint32 `json:"interval_ms"`
	Owner      bool   `json:"owner"`
}

// callTimeout bounds each question.
const callTimeout = 10 * time.Second

// Address finds the bus to ask: the one named, else DBUS_SYSTEM_BUS_ADDRESS, else a private bus that answers, this
// session's or that of bluez-esphome-private.service, else the system bus.
func Address(flag string) string {
	switch flag {
	case "", "private":
		if env := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); flag == "" && env != "" {
			return env
		}
		paths := []string{privatebus.UnitPath}
		if path := privatebus.DefaultPath(); path != "" {
			paths = []string{path, privatebus.UnitPath}
		}
		for _, path := range paths {
			if c, err := net.Dial("unix", path); err == nil {
				c.Close()
				return "unix:path=" + path
			}
		}
		if flag == "private" {
			return "unix:path=" + paths[0]
		}
	case "system":
	default:
		return flag
	}
	return "unix:path=/var/run/dbus/system_bus_socket"
}

// Ask collects the report of the daemon on a bus.
func Ask(ctx context.Context, address string) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := dbus.Connect(address, dbus.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the bus %s: %w; is the daemon running? (--bus names another bus)", address, err)
	}
	defer conn.Close()
	var objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant
	err = conn.Object("org.bluez", "/").CallWithContext(ctx, "org.freedesktop.DBus.ObjectManager.GetManagedObjects", 0).Store(&objects)
	if err != nil {
		var de dbus.Error
		if errors.As(err, &de) && de.Name == "org.freedesktop.DBus.Error.ServiceUnknown" {
			return nil, fmt.Errorf("nobody is org.bluez on %s: the daemon does not run there (--bus names another bus)", address)
		}
		return nil, fmt.Errorf("cannot ask org.bluez: %w", err)
	}
	r := &Report{Bus: address, Proxies: []Proxy{}, Devices: []Device{}}
	names := map[dbus.ObjectPath]string{}
	for path, ifaces := range objects {
		if props, ok := ifaces["org.bluez_esphome.Proxy1"]; ok {
			p := proxyOf(props)
			names[path] = p.Name
			r.Proxies = append(r.Proxies, p)
		}
	}
	for path, ifaces := range objects {
		if props, ok := ifaces["org.bluez_esphome.Radio1"]; ok {
			r.Adapters = append(r.Adapters, Adapter{
				Name: string(path)[strings.LastIndexByte(string(path), '/')+1:], Proxy: names[get[dbus.ObjectPath](props, "Proxy")],
				Devices: get[uint32](props, "Devices"), MaxDevices: get[uint32](props, "MaxDevices"), Dropped: get[uint64](props, "Dropped"),
			})
		}
		if props, ok := ifaces["org.bluez.Device1"]; ok {
			r.Devices = append(r.Devices, deviceOf(props, ifaces["org.bluez_esphome.Device1"], names))
		}
	}
	slices.SortFunc(r.Proxies, func(a, b Proxy) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Adapters, func(a, b Adapter) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Devices, func(a, b Device) int { return strings.Compare(a.Adapter+a.Address, b.Adapter+b.Address) })
	return r, nil
}

// get reads a property; what is absent or of another type is the zero value.
func get[T any](props map[string]dbus.Variant, name string) T {
	v, _ := props[name].Value().(T)
	return v
}

func proxyOf(p map[string]dbus.Variant) Proxy {
	return Proxy{
		Name: get[string](p, "Name"), Host: get[string](p, "Host"), State: get[string](p, "State"),
		LastError: get[string](p, "LastError"), ESPHomeVersion: get[string](p, "ESPHomeVersion"),
		Features: get[[]string](p, "Features"), BluetoothAddress: get[string](p, "BluetoothAddress"),
		ScanMode: get[string](p, "ScanMode"), SlotLimit: get[uint16](p, "SlotLimit"), SlotFree: get[uint16](p, "SlotFree"),
		Allocated: get[[]string](p, "Allocated"), LastHeard: get[uint64](p, "LastHeard"),
	}
}

func deviceOf(p, ext map[string]dbus.Variant, names map[dbus.ObjectPath]string) Device {
	d := Device{
		Address: get[string](p, "Address"), Name: get[string](p, "Name"), Alias: get[string](p, "Alias"),
		Adapter:   strings.TrimPrefix(string(get[dbus.ObjectPath](p, "Adapter")), "/org/bluez/"),
		Connected: get[bool](p, "Connected"), Paired: get[bool](p, "Paired"), Sources: []Source{},
	}
	if rssi, ok := p["RSSI"].Value().(int16); ok {
		d.RSSI = &rssi
	}
	for _, s := range get[[]map[string]dbus.Variant](ext, "Sources") {
		path := get[dbus.ObjectPath](s, "Proxy")
		name, ok := names[path]
		if !ok {
			name = string(path)
		}
		d.Sources = append(d.Sources, Source{
			Proxy: name, RSSI: get[int16](s, "RSSI"), LastHeard: get[uint64](s, "LastHeard"),
			IntervalMs: get[uint32](s, "IntervalMs"), Owner: get[bool](s, "Owner"),
		})
	}
	return d
}
