package scanner

import (
	"cmp"
	"math"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

// Stats are counters since the table was made.
type Stats struct {
	Devices    int    // now
	MaxDevices int    // the bound of Devices
	Adverts    uint64 // taken
	Repeats    uint64 // newest content again
	Novel      uint64 // new content
	Replays    uint64 // late copies of older content
	Switches   uint64 // devices that went to another owner
	Evicted    uint64 // devices dropped because the table was full
	Expired    uint64 // devices dropped because nobody heard them
	Overrun    uint64 // payloads dropped because nobody took reports in time
	Late       uint64 // adverts of proxies that are not up
	Oversized  uint64 // adverts too long to be true
	Crowded    uint64 // adverts of new devices that came faster than is believable
}

// Path is one proxy through which a device may be reached.
type Path struct {
	Proxy     string
	RSSI      int // dBm, smoothed; ble.WeakestRSSI unknown
	LastHeard time.Time
	Interval  time.Duration // learned, 0 unknown
	Owner     bool
	Type      ble.AddressType // what the proxy mostly reports
	Paused    bool            // the proxy is connecting at present
}

// Device is a device of the table, for status and listing.
type Device struct {
	Address     ble.Address
	Type        ble.AddressType
	Name        string // newest, raw
	RSSI        int8   // the owner's, 0 unknown
	LastHeard   time.Time
	Connectable bool
	Last        *ble.Advertisement
	Sources     []ble.Source
}

// ProxyInfo is what the table knows of a proxy.
type ProxyInfo struct {
	Name       string
	Up, Paused bool
	Adverts    uint64
	LastHeard  time.Time // zero: nothing in this session
	Owned      int       // devices
}

// Forget drops what is known of a device, as if it had never been heard. Its
// protection by Keep stays.
func (t *Table) Forget(a ble.Address) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := t.devices[a]; d != nil {
		t.drop(d)
	}
}

// Keep protects a device (connected, connecting, bonded) from being evicted or expired. The device may be unknown yet.
func (t *Table) Keep(a ble.Address, keep bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if keep {
		t.kept[a] = struct{}{}
	} else {
		delete(t.kept, a)
	}
}

// MarkConnectable notes that a device was connected, whatever it looks like.
func (t *Table) MarkConnectable(a ble.Address) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := t.devices[a]; d != nil {
		d.traits |= knownConnectable
	}
}

// Lookup gives the address type, as the owner mostly reports it, and whether the device was heard at all.
func (t *Table) Lookup(a ble.Address) (ble.AddressType, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.devices[a]
	if d == nil {
		return 0, false
	}
	return d.typ, true
}

// Sources lists who hears a device, by name of the proxy.
func (t *Table) Sources(a ble.Address) []ble.Source {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sourcesOf(t.devices[a])
}

// Hearing calls f for each proxy that heard a device at or after a time, with the RSSI that it heard last, 0 if that is
// unknown, and gives the device's newest name, raw, "" if it has none. f is quick and calls nothing of the table. Nothing
// is allocated.
func (t *Table) Hearing(a ble.Address, since time.Time, f func(proxy string, rssi int8)) (name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.devices[a]
	if d == nil {
		return ""
	}
	for i := range d.sources.n {
		s := d.sources.place(i)
		if p := t.numbered[s.proxy]; s.of(p) && s.heard >= t.since(since) {
			rssi := int8(0)
			if s.has(known) {
				rssi = s.rssi
			}
			f(p.name, rssi)
		}
	}
	return d.name
}

func (t *Table) sourcesOf(d *device) []ble.Source {
	if d == nil {
		return nil
	}
	var out []ble.Source
	for s := range d.sources.all() {
		if p := t.numbered[s.proxy]; s.of(p) {
			out = append(out, ble.Source{Proxy: p.name, RSSI: s.rssi, LastHeard: t.timeOf(s.heard),
				Interval: s.interval.duration(), Owner: p == d.owner})
		}
	}
	slices.SortFunc(out, func(a, b ble.Source) int { return cmp.Compare(a.Proxy, b.Proxy) })
	return out
}

// Paths lists the proxies that hear a device, the loudest first. The caller decides which of them heard it too long
// ago.
func (t *Table) Paths(a ble.Address) []Path {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.devices[a]
	if d == nil {
		return nil
	}
	var out []Path
	for s := range d.sources.all() {
		p := t.numbered[s.proxy]
		if !s.of(p) {
			continue
		}
		rssi := ble.WeakestRSSI
		if s.has(known) {
			rssi = int(math.Round(s.smoothed.dBm()))
		}
		out = append(out, Path{Proxy: p.name, RSSI: rssi, LastHeard: t.timeOf(s.heard), Interval: s.interval.duration(),
			Owner: p == d.owner, Type: s.addressType(d.typ), Paused: p.paused})
	}
	slices.SortFunc(out, func(a, b Path) int {
		return cmp.Or(cmp.Compare(b.RSSI, a.RSSI), cmp.Compare(a.Proxy, b.Proxy))
	})
	return out
}

// Listening reports whether there is any discovery session or monitor.
func (t *Table) Listening() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.want.anybody
}

// List gives all devices, by address.
func (t *Table) List() []Device {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(t.now())
	out := make([]Device, 0, len(t.devices))
	for _, d := range t.devices {
		out = append(out, t.deviceOf(d))
	}
	slices.SortFunc(out, func(a, b Device) int { return cmp.Compare(a.Address, b.Address) })
	return out
}

// Device gives one device, false if it is not in the table.
func (t *Table) Device(a ble.Address) (Device, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.devices[a]
	if d == nil {
		return Device{}, false
	}
	return t.deviceOf(d), true
}

func (t *Table) deviceOf(d *device) Device {
	return Device{Address: d.addr, Type: d.typ, Name: ble.CleanName(d.name), RSSI: d.rssi(), LastHeard: t.timeOf(d.heard),
		Connectable: d.traits.connectable(), Last: d.content.newest(), Sources: t.sourcesOf(d)}
}

// Stats gives the counters.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Devices, s.MaxDevices = len(t.devices), t.max
	return s
}

// Proxies lists the proxies and what each of them heard, by name.
func (t *Table) Proxies() []ProxyInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	owned := map[*proxy]int{}
	for _, d := range t.devices {
		if d.ownerSource() != nil {
			owned[d.owner]++
		}
	}
	out := make([]ProxyInfo, 0, len(t.proxies))
	for _, p := range t.proxies {
		i := ProxyInfo{Name: p.name, Up: p.up, Paused: p.paused, Adverts: p.adverts, Owned: owned[p]}
		if p.heard != 0 {
			i.LastHeard = t.timeOf(p.heard)
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b ProxyInfo) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Advertised lists the service UUIDs that a device said lately.
func (t *Table) Advertised(a ble.Address) []ble.UUID {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.devices[a]
	if d == nil {
		return nil
	}
	var out []ble.UUID
	now := t.now()
	d.recently(now, func(adv *ble.Advertisement) bool {
		out = append(out, adv.ServiceUUIDs...)
		return false
	})
	return out
}
