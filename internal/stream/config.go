package stream

import (
	"context"
	"log/slog"
	"net"
	"time"

	"bluez-esphome/internal/ble"
)

// Config is what a Manager is made of. Only Dial and Logger may be nil.
type Config struct {
	// Version is the daemon's, Installation tells it from all others.
	Version      string
	Installation ble.Address
	// MaxDevices is about how many devices the table holds at most.
	MaxDevices int
	// Hearing appends to out the proxies that heard a device at or after a time, by their IDs, with what they heard. It
	// gives the device's newest name too, raw: many say it in some of their advertisements only.
	Hearing func(a ble.Address, since time.Time, out []Hearing) (heard []Hearing, name string)
	// Label names a proxy for people, by its ID.
	Label func(id string) string
	// Proxies lists the proxies as they are now.
	Proxies func() []Proxy
	// Dial opens a connection to host:port; nil: by TCP.
	Dial   func(ctx context.Context, address string) (net.Conn, error)
	Logger *slog.Logger
}

// A Hearing is what one proxy heard of a device last.
type Hearing struct {
	Proxy string // its ID
	RSSI  int8   // dBm, 0 unknown
}

// A Proxy is the state of one proxy. Texts may come from the network.
type Proxy struct {
	Name    string // unique
	MAC     string // empty: unknown
	State   string // a word of apiconn.State
	Version string // of ESPHome; empty: unknown
	Error   string // why it is not online; empty: it is, or nothing is known
	// Via are the daemons through which it is reached, the nearest first; empty: it is connected to directly.
	Via []string
	// Slots are its connection slots, 0 where it did not say.
	Slots, FreeSlots int
}

// State is how it stands with the broker.
type State string

// States. A Manager without a broker has none.
const (
	Connecting State = "connecting"
	Connected  State = "connected"
	Waiting    State = "waiting" // to try again
)

// Status tells of the stream. Offered = Published + Dropped + Refused + Queued + Waiting, as long as the configuration
// stays.
type Status struct {
	State     State
	Broker    string // mqtt://host:port or mqtts://host:port
	Topic     string
	Format    string
	Since     time.Time // of State
	LastError string    // why the broker was not reached, or the last session ended; empty: nothing went wrong
	Sessions  uint64    // with the broker that were up
	Offered   uint64    // messages that were to be published, but for states
	Published uint64    // that were handed to the broker: written to it, or with QoS 1 acknowledged by it
	Dropped   uint64    // that had to make room or were lost with a session
	Refused   uint64    // that the broker did not take
	Queued    int       // that wait to be written
	Unacked   int       // that were written and wait for the broker's acknowledgement, with QoS 1
	Limit     int       // of Queued
	Bytes     uint64    // of payloads that were published
}
