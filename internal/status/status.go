// Package status asks a running daemon over D-Bus, as any client could, what its proxies do and what they hear.
package status

import (
	"bluez-esphome/internal/ble"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// A Report is what a daemon says of itself.
type Report struct {
	Bus string `json:"bus"`
	// Others are the buses on which other daemons answer, if the command line named no bus.
	Others  []string `json:"other_buses"`
	Proxies []Proxy  `json:"proxies"`
	// Adapters are empty with daemons that do not tell how full their tables are.
	Adapters []Adapter `json:"adapters"`
	Devices  []Device  `json:"devices"` // on the bus
	// Heard lists the devices that the proxies hear, whether or not a program discovers: at most 1,000, those heard last.
	// Connects lists the last calls of Connect, at most 256, the newest first. Both are empty with daemons that do not
	// tell them.
	Heard    []Heard   `json:"heard"`
	Connects []Connect `json:"connects"`
	// Shared lists what is shared with other hosts.
	Shared []Shared `json:"shared"`
	// Controllers are the virtual Bluetooth controllers; empty where none are configured.
	Controllers []Controller `json:"controllers"`
	// Stream is the stream to a broker, nil if there is none.
	Stream *Stream `json:"stream"`
	// Configuration is nil with daemons that do not tell it.
	Configuration *Configuration `json:"configuration"`

	air     dbus.ObjectPath // the object with Air1; "" if the daemon has none
	guessed bool            // the command line named no bus, and this one is at no usual place
	about   string          // what Select chose, "" all
}

// An Adapter is one table of devices: how many are in it now, how many fit, and how many were evicted since the start.
type Adapter struct {
	Name       string `json:"name"`
	Proxy      string `json:"proxy"` // "" is the merged one, or its proxy was not online yet
	Devices    uint32 `json:"devices"`
	MaxDevices uint32 `json:"max_devices"`
	Dropped    uint64 `json:"dropped"`
}

// A Proxy is one configured proxy. An empty text or a limit of 0 slots means that the value is unknown.
type Proxy struct {
	Name      string `json:"name"`
	Host      string `json:"host"`
	State     string `json:"state"`
	LastError string `json:"last_error"`
	// LastLinkError is what went wrong last with an attempt or a link: when, with which device, and what.
	LastLinkError  string   `json:"last_link_error"`
	ESPHomeVersion string   `json:"esphome_version"`
	Features       []string `json:"features"`
	// Missing is empty until the proxy was online.
	Missing          []ble.Lack `json:"missing"`
	BluetoothAddress string     `json:"bluetooth_address"`
	ScanMode         string     `json:"scan_mode"`
	SlotLimit        uint16     `json:"slot_limit"`
	SlotFree         uint16     `json:"slot_free"`
	Allocated        []string   `json:"allocated"`
	Links            []Link     `json:"links"`
	LastHeard        Moment     `json:"last_heard"`
	// NextAttempt is when the daemon next tries to reach the proxy.
	NextAttempt Moment `json:"next_attempt"`
	// Bonds are the devices with which the proxy holds a bond.
	Bonds []string `json:"bonds"`
	// Via are the daemons through which it is reached, the nearest first, each an address and a host.
	Via []string `json:"via"`
	// Note is worth knowing though it is no fault.
	Note string `json:"note"`

	path dbus.ObjectPath
}

// A Link is a connection slot in use. Since is when it came into its state.
type Link struct {
	Address string   `json:"address"`
	Name    string   `json:"name"`  // of the device, if it is on the bus
	State   string   `json:"state"` // connecting, connected, releasing, or foreign: it is not ours
	Since   Moment   `json:"since"`
	Owners  []string `json:"owners"` // D-Bus, hosts that share the proxy, or another host
}

// A Device is one Device1 object.
type Device struct {
	Address   string   `json:"address"`
	Name      string   `json:"name"`
	Alias     string   `json:"alias"`
	Adapter   string   `json:"adapter"`
	RSSI      *int16   `json:"rssi"`
	Connected bool     `json:"connected"`
	Paired    bool     `json:"paired"`
	LastError string   `json:"last_error"` // of a connection: when, and what
	Sources   []Source `json:"sources"`
}

// A Source is a proxy that hears a device.
type Source struct {
	Proxy      string `json:"proxy"`
	RSSI       int16  `json:"rssi"`
	LastHeard  Moment `json:"last_heard"`
	IntervalMs uint32 `json:"interval_ms"`
	Owner      bool   `json:"owner"`
}

// callTimeout bounds each question.
const callTimeout = 10 * time.Second

// Ask collects the report of the daemon on a bus. The error names the bus.
func Ask(ctx context.Context, address string) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := dbus.Connect(address, dbus.WithContext(ctx))
	if err != nil {
		return nil, explain(address, err)
	}
	defer conn.Close()
	var objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant
	err = conn.Object("org.bluez", "/").CallWithContext(ctx, "org.freedesktop.DBus.ObjectManager.GetManagedObjects", dbus.FlagNoAutoStart).Store(&objects)
	if err != nil {
		var de dbus.Error
		if errors.As(err, &de) && (de.Name == "org.freedesktop.DBus.Error.ServiceUnknown" || de.Name == "org.freedesktop.DBus.Error.NameHasNoOwner") {
			err = errors.New("nobody is org.bluez there")
		} else {
			err = fmt.Errorf("org.bluez does not answer: %w", err)
		}
		return nil, explain(address, err)
	}
	if !ours(objects) {
		return nil, explain(address, fmt.Errorf("org.bluez is not bluez-esphome there but %s", owner(ctx, conn)))
	}
	r := reportOf(address, objects)
	r.askAir(ctx, conn)
	return r, nil
}

// ours reports whether bluez-esphome made the tree: it has an interface of its own on its adapter.
func ours(objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant) bool {
	return objects["/org/bluez/hci0"]["org.bluez_esphome.Radio1"] != nil
}

func reportOf(address string, objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant) *Report {
	r := &Report{Bus: address, Others: []string{}, Adapters: []Adapter{}, Shared: []Shared{}, Controllers: []Controller{}, Proxies: []Proxy{}, Devices: []Device{}, Heard: []Heard{}, Connects: []Connect{}}
	names := map[dbus.ObjectPath]string{}
	for path, ifaces := range objects {
		if props, ok := ifaces["org.bluez_esphome.Proxy1"]; ok {
			p := proxyOf(props)
			p.path = path
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
	for path, ifaces := range objects { // found by interface, since daemons of other versions have other paths
		if props, ok := ifaces["org.bluez_esphome.Share1"]; ok {
			r.Shared = sharedOf(props, names)
		}
		if props, ok := ifaces["org.bluez_esphome.Stream1"]; ok {
			r.Stream = streamOf(get[map[string]dbus.Variant](props, "Stream"))
		}
		if props, ok := ifaces["org.bluez_esphome.Controllers1"]; ok {
			r.Controllers = controllersOf(props)
		}
		if props, ok := ifaces["org.bluez_esphome.Configuration1"]; ok {
			r.Configuration = configurationOf(props)
		}
		if _, ok := ifaces["org.bluez_esphome.Air1"]; ok {
			r.air = path
		}
	}
	slices.SortFunc(r.Proxies, func(a, b Proxy) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Host, b.Host)) })
	slices.SortFunc(r.Adapters, func(a, b Adapter) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Devices, func(a, b Device) int { return strings.Compare(a.Adapter+a.Address, b.Adapter+b.Address) })
	r.nameLinks()
	return r
}

// nameLinks adds the names of devices to the links.
func (r *Report) nameLinks() {
	names := map[string]string{}
	for _, d := range r.Devices {
		if d.Name != "" {
			names[d.Address] = d.Alias
		}
	}
	for _, p := range r.Proxies {
		for i := range p.Links {
			p.Links[i].Name = names[p.Links[i].Address]
		}
	}
}

// get reads a property; what is absent or of another type is the zero value.
func get[T any](props map[string]dbus.Variant, name string) T {
	v, _ := props[name].Value().(T)
	return v
}

// list keeps a list from being null in JSON.
func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

func proxyOf(p map[string]dbus.Variant) Proxy {
	out := Proxy{
		Name: get[string](p, "Name"), Host: get[string](p, "Host"), State: get[string](p, "State"),
		LastError: get[string](p, "LastError"), LastLinkError: get[string](p, "LastLinkError"), ESPHomeVersion: get[string](p, "ESPHomeVersion"),
		Features: list(get[[]string](p, "Features")), BluetoothAddress: get[string](p, "BluetoothAddress"),
		ScanMode: get[string](p, "ScanMode"), SlotLimit: get[uint16](p, "SlotLimit"), SlotFree: get[uint16](p, "SlotFree"),
		Allocated: list(get[[]string](p, "Allocated")), LastHeard: Moment(get[uint64](p, "LastHeard")),
		NextAttempt: Moment(get[uint64](p, "NextAttempt")), Bonds: list(get[[]string](p, "Bonds")),
		Note: get[string](p, "Note"), Via: get[[]string](p, "Via"), Missing: []ble.Lack{}, Links: []Link{},
	}
	if out.ESPHomeVersion != "" {
		out.Missing = ble.Lacking(out.Features)
	}
	for _, l := range get[[]map[string]dbus.Variant](p, "Links") {
		out.Links = append(out.Links, Link{
			Address: get[string](l, "Address"), State: get[string](l, "State"), Since: Moment(get[uint64](l, "Since")), Owners: list(get[[]string](l, "Owners")),
		})
	}
	return out
}

func deviceOf(p, ext map[string]dbus.Variant, names map[dbus.ObjectPath]string) Device {
	d := Device{
		Address: get[string](p, "Address"), Name: get[string](p, "Name"), Alias: get[string](p, "Alias"),
		Adapter:   strings.TrimPrefix(string(get[dbus.ObjectPath](p, "Adapter")), "/org/bluez/"),
		Connected: get[bool](p, "Connected"), Paired: get[bool](p, "Paired"), Sources: []Source{},
	}
	d.RSSI, d.LastError = rssiOf(p), get[string](ext, "LastError")
	for _, s := range get[[]map[string]dbus.Variant](ext, "Sources") {
		path := get[dbus.ObjectPath](s, "Proxy")
		name, ok := names[path]
		if !ok {
			name = string(path)
		}
		d.Sources = append(d.Sources, sourceOf(s, name))
	}
	return d
}

func sourceOf(s map[string]dbus.Variant, proxy string) Source {
	return Source{
		Proxy: proxy, RSSI: get[int16](s, "RSSI"), LastHeard: Moment(get[uint64](s, "LastHeard")),
		IntervalMs: get[uint32](s, "IntervalMs"), Owner: get[bool](s, "Owner"),
	}
}
