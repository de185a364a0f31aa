package web

import (
	"context"
	"time"

	"bluez-esphome/internal/ble"
)

// Source is what the listener shows. Its methods are goroutine-safe.
type Source interface {
	// Proxies lists the proxies in the order in which they are to be shown.
	Proxies() []Proxy
	// Devices appends to out at most n devices, those heard last first; connected ones are in any case among them. The
	// memory of out beyond its length, and of the Signals there, is used again. The number of a signal's proxy is the place
	// of its name in proxies; others are left out.
	Devices(out []ble.Heard, n int, proxies []string) []ble.Heard
	// Connected lists the devices that are connected.
	Connected() []ble.Address
	// Troubles tells of the last connection that failed or was lost, of each device that had one: when, and what.
	Troubles() map[ble.Address]string
	// Air gives the counters of the merged table.
	Air() Air
	// Remarks are what is to be known or done that concerns no single proxy, such as mistakes of the configuration
	// file.
	Remarks() []string
	// Detail tells more of one device; false if nothing is known of it.
	Detail(a ble.Address) (Detail, bool)
	// Connects lists at most n of the last calls of Connect, the newest first.
	Connects(n int) []Connect
	// Tried is a number that is another one once Troubles or Connects are, but for names of devices.
	Tried() uint64
	// Outcomes counts what became of all of them.
	Outcomes() Outcomes
	// Shares lists the proxies as they are offered to other hosts.
	Shares() []Share
	// Stream tells of the stream to a broker; false if there is none.
	Stream() (Stream, bool)
	// Controllers lists the virtual controllers.
	Controllers() []Controller
	// Healthy returns nil if the program's loop still works; ctx bounds the wait.
	Healthy(ctx context.Context) error
	// Ready returns nil if the program serves its clients.
	Ready() error
}

// Proxy is one proxy as it is now. Texts may come from the network and are not trusted.
type Proxy struct {
	Name      string // unique, or made so for the metrics
	Host      string // host:port
	State     string // a word of apiconn.State, such as online
	LastError string
	LinkError string   // what went wrong last with a connection through it
	Note      string   // what is no fault
	Lacks     []string // what its firmware has not, and what that disables
	Version   string   // of ESPHome
	ScanMode  string   // active, passive, or empty: unknown

	SlotsKnown bool
	SlotLimit  int
	SlotFree   int
	Slots      []Slot // those in use, as far as it is known by whom

	Adverts       uint64
	Read, Written uint64 // bytes
	Sessions      uint64 // that were up
	Failures      uint64 // attempts that failed
	Owned         int    // devices for which it speaks
	LastHeard     time.Time
}

// states are the words for Proxy.State.
var states = []string{"offline", "connecting", "online", "auth-failed", "displaced", "deaf"}

// Slot is a connection slot in use.
type Slot struct {
	Address ble.Address
	Name    string // of the device; empty: unknown
	// State is connecting, connected or releasing, or foreign for what is not ours.
	State string
	// Owners are who uses it: D-Bus, and hosts that share the proxy, by names of their own.
	Owners []string
}

// Detail is what more is known of a device.
type Detail struct {
	Type        ble.AddressType
	Connectable bool
	Alias       string // that a program gave it
	Known       string // the name that it had when it was last connected
	Adapters    []int  // the N of each hciN that it is on
	Bonded      bool
	BondAt      string // the proxy that holds the bond; empty: unknown
	Trusted     bool
	Blocked     bool
	Last        *ble.Advertisement // the newest; may be nil
	Via         string             // the proxy that has its link
	Since       time.Time          // of the link
	Owners      []string           // who holds it
	LastError   string             // of a connection
	Sources     []ble.Source
}

// Connect is one call of Connect and what became of it.
type Connect struct {
	At       time.Time
	Device   ble.Address
	Name     string   // of the device; empty: unknown
	Asked    []string // who wanted it
	Tries    []Try
	SlotWait time.Duration // for a free connection slot
	Took     time.Duration // to the link or the error; 0 while neither is there
	Result   string        // a word of Outcomes.Connects; empty while it is under way
	Error    string        // why no link came up
	Proxy    string        // that has the link
	Ended    time.Time     // of the link; zero while it is up
	Why      string
	Local    bool   // somebody here wanted the end
	Lost     uint64 // notifications that a program lost
}

// Try is one attempt through one proxy.
type Try struct {
	Proxy  string
	RSSI   int // dBm, 0 unknown
	Took   time.Duration
	Result string // connected, or what the proxy said
}

// Outcomes counts calls of Connect by their results, links by why they ended, and notifications that programs lost.
type Outcomes struct {
	Connects, Ends map[string]uint64
	ValuesLost     uint64
}

// Air is the counters of the merged table.
type Air struct {
	Devices                                    int
	Adverts, Repeats, Novel, Replays, Switches uint64
	Evicted, Expired, Overrun, Late, Oversized uint64
	Crowded                                    uint64
}
