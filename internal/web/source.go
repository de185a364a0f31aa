package web

import (
	"context"
	"time"

	"bluez-esphome/internal/ble"
)

// Source gives what the listener shows. Its methods are goroutine-safe.
type Source interface {
	// Proxies lists the proxies in the order in which they are to be shown.
	Proxies() []Proxy
	// Devices appends at most n devices to out, those heard last first. The devices that are connected through proxies,
	// an answer of Proxies, are always among them. Devices reuses the memory of out beyond its length and that of the
	// Signals there. It numbers the proxy of a signal by its place in proxies, and leaves out the signals of other
	// proxies.
	Devices(out []ble.Heard, n int, proxies []Proxy) []ble.Heard
	// Troubles says, for each device that had a failure, when the last one was and what failed: a connection that did
	// not come up, or one that was lost.
	Troubles() map[ble.Address]string
	// Air gives the counters of the merged table.
	Air() Air
	// Remarks lists what the operator should know or do, as far as it concerns no single proxy: mistakes in the
	// configuration file, for example.
	Remarks() []string
	// Detail tells more of one device; false if nothing is known of it.
	Detail(a ble.Address) (Detail, bool)
	// Connects lists at most n of the last calls of Connect, the newest first.
	Connects(n int) []Connect
	// Tried is a number that changes whenever the answers of Troubles or Connects do. Only names of devices may change
	// without it.
	Tried() uint64
	// Outcomes counts the results of all calls of Connect and the ends of all links.
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
	Note      string   // what the operator should know although nothing is wrong
	Lacks     []string // features that its firmware lacks, and what that disables
	Version   string   // of ESPHome
	ScanMode  string   // active, passive, or empty: unknown

	SlotsKnown bool
	SlotLimit  int
	SlotFree   int
	Slots      []Slot // the slots in use whose devices are known

	Adverts       uint64
	Read, Written uint64 // bytes
	Sessions      uint64 // sessions that were up
	Failures      uint64 // attempts that brought no session up
	Owned         int    // devices for which it speaks: it hears them best
	LastHeard     time.Time
}

// states are the words for Proxy.State.
var states = []string{"offline", "connecting", "online", "auth-failed", "displaced", "deaf"}

// States of a slot that this package tells from others.
const (
	slotConnected = "connected"
	slotForeign   = "foreign" // somebody else uses it
)

// Slot is a connection slot in use.
type Slot struct {
	Address ble.Address
	Name    string // of the device; empty: unknown
	State   string // a gatt.HoldState, or foreign: the slot is not ours
	// Owners names those who use it: D-Bus, and hosts that share the proxy, as they call themselves.
	Owners []string
}

// Connected lists the devices that are connected through the proxies.
func Connected(proxies []Proxy) (out []ble.Address) {
	for i := range proxies {
		for _, s := range proxies[i].Slots {
			if s.State == slotConnected {
				out = append(out, s.Address)
			}
		}
	}
	return out
}

// Detail is what more is known of a device.
type Detail struct {
	Type        ble.AddressType
	Connectable bool
	Alias       string // the alias that a program gave it
	Known       string // the name that it had when it was last connected
	Adapters    []int  // the N of each adapter hciN that has it
	Bonded      bool
	BondAt      string // the proxy that holds the bond; empty: unknown
	Trusted     bool
	Blocked     bool
	Last        *ble.Advertisement // the newest; may be nil
	Via         string             // the proxy that has its link; empty: it is not connected
	Since       time.Time          // when the link came up
	Owners      []string           // those who hold the link, by name
	LastError   string             // what went wrong last with a connection
	Sources     []ble.Source
}

// Connect is one call of Connect and what became of it.
type Connect struct {
	At       time.Time
	Device   ble.Address
	Name     string   // of the device; empty: unknown
	Asked    []string // those who wanted it, by name
	Tries    []Try
	SlotWait time.Duration // how long it waited for a free connection slot
	Took     time.Duration // the time to the link or to the error; 0 while neither is there
	Result   string        // a key of Outcomes.Connects; empty while it is under way
	Error    string        // why no link came up
	Proxy    string        // the proxy that has, or had, the link
	Ended    time.Time     // when the link ended; zero while it is up
	Why      string        // why the link ended
	Local    bool          // this side ended the link
	Lost     uint64        // notifications that a program lost
}

// Try is one attempt through one proxy.
type Try struct {
	Proxy  string
	RSSI   int // dBm, 0 unknown
	Took   time.Duration
	Result string // "connected", or what the proxy said
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
