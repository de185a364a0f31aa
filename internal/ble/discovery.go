package ble

import "time"

// Transport is the Transport key of a discovery filter.
type Transport uint8

// Transports; on this LE-only adapter auto and le find the same.
const (
	TransportAuto Transport = iota
	TransportLE
	TransportBREDR
)

// DiscoveryFilter is one client's validated discovery filter (bluetoothd 5.87,
// Adapter1 SetDiscoveryFilter). The zero value is no filter.
type DiscoveryFilter struct {
	UUIDs         []UUID
	RSSI          int16 // dBm, -127…20; valid if HasRSSI
	HasRSSI       bool
	Pathloss      uint16 // dB, 0…137; valid if HasPathloss
	HasPathloss   bool
	Transport     Transport
	DuplicateData bool
	Discoverable  bool
	Pattern       string // valid if HasPattern
	HasPattern    bool
	AutoConnect   bool
}

// Monitor is one client's validated advertisement monitor (bluetoothd 5.87,
// AdvertisementMonitor1). If Tracks is false there are no RSSI parameters.
type Monitor struct {
	Patterns []MonitorPattern
	Tracks   bool // some RSSI parameter was set; the others have their defaults
	// Thresholds in dBm.
	RSSILow, RSSIHigh int16
	// A device is found after it was above RSSIHigh for HighTimeout, and lost after it was
	// below RSSILow, or silent, for LowTimeout.
	LowTimeout, HighTimeout time.Duration
}

// MonitorPattern matches Content at Start within the data of an AD structure of Type.
type MonitorPattern struct {
	Start   uint8
	Type    uint8
	Content []byte
}

// MonitorEvent is a device that a monitor found or lost.
type MonitorEvent struct {
	Monitor uint64
	Lost    bool
}

// Report is what one adapter's view has to say of one device since it was last asked.
type Report struct {
	Address Address
	Type    AddressType
	RSSI    int8 // dBm as the source with the best claim heard it; 0 unknown
	At      time.Time
	// Since is when the oldest advertisement was heard that it tells of; zero if it tells only of silence.
	Since time.Time
	// Payloads are the advertisements that were not yet reported, oldest first; on the first report of
	// a device also the recent ones that complete it (a scan response forwarded apart).
	// Empty if only RSSI or time moved.
	Payloads []*Advertisement
	// Last is the newest advertisement, never nil.
	Last *Advertisement
	// Connectable is false for a device that by all signs is a beacon; the native API does
	// not say.
	Connectable bool
	// Discovered: a discovery session wants it. Monitored: an advertisement monitor matched it.
	Discovered, Monitored bool
	// AutoConnect: a session with AutoConnect asks for it by Pattern.
	AutoConnect bool
	// EveryRSSI: signal RSSI even if it did not move by 8 dB, since a session asks for that or somebody
	// has only now begun to discover or monitor. Duplicates: signal
	// advertised data even if unchanged, replacing rather than accumulating it.
	EveryRSSI, Duplicates bool
	Events                []MonitorEvent
	// Evicted: the device was reported before and had to make room for others; nothing else is set but Address.
	Evicted bool
}

// Heard is a device and who hears it, for a reader that looks again and again.
type Heard struct {
	Address   Address
	Name      string // the newest, as CleanName has it
	LastHeard time.Time
	Signals   []Signal // in no particular order
}

// Signal is how one proxy hears a device.
type Signal struct {
	Proxy     int // a number that the reader chose
	RSSI      int8
	Owner     bool // the proxy speaks for the device
	LastHeard time.Time
	Interval  time.Duration // learned advertising interval, 0 unknown
}

// Source is one proxy's history of a device.
type Source struct {
	Proxy     string
	RSSI      int8
	LastHeard time.Time
	Interval  time.Duration // learned advertising interval, 0 unknown
	Owner     bool
}
