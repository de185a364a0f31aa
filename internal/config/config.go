package config

import (
	"log/slog"
	"time"

	"bluez-esphome/internal/ble"
)

// DefaultPath is where the configuration is looked for when none is named.
const DefaultPath = "/etc/bluez-esphome/bluez-esphome.yaml"

// DefaultPort is the native API's port at every proxy whose address names none.
const DefaultPort = 6053

// Config is a validated configuration with all defaults filled in.
type Config struct {
	// Path is the file that it was read from, as the user named it; for messages.
	Path string
	Bus  Bus
	// StateDir is the directory for state that outlives a run. It need not exist yet.
	StateDir     string
	Adapters     AdapterMode
	AdapterAlias string
	Proxies      []Proxy
	Devices      []Device
	// AutoAdd is nil unless all proxies that multicast DNS finds are to be used.
	AutoAdd *AutoAdd
	Link    Link
	Connect Connect
	// MaxDevices bounds the merged table of devices, 1…1048576.
	MaxDevices int
	Share      Share
	// HCI is the virtual Bluetooth controllers.
	HCI []Controller
	// MQTT is where the merged air is published, stream.mqtt in the file.
	MQTT MQTT
	HTTP HTTP
	Log  Log
	// Warnings name what is allowed but probably not meant, one line each.
	Warnings []string
}

// Proxy is one configured proxy.
type Proxy struct {
	// Host is a name or an IP address without brackets; Port is 1…65535.
	Host string
	Port uint16
	// NoisePSK is the key of its sessions; not set means plaintext.
	NoisePSK Secret
	// Name is unique among the configured proxies, or empty: then the proxy's own name counts.
	Name string
	// MAC is the only device accepted at this address; valid if HasMAC.
	MAC    ble.Address
	HasMAC bool
	// Password is the API password that firmware up to 2025 may ask for; empty for none.
	Password   Password
	ScanMode   ScanMode
	OnConflict OnConflict
	OnNoSlot   OnNoSlot
	HostsWait  bool // on_no_slot: wait is written in the file, so that other hosts wait for a slot, too
	// Line is where the proxy stands in the file, for messages.
	Line int
}

// Device is the configuration of one Bluetooth device. At most one of Pin and (Prefer, Deny) is set.
type Device struct {
	Address ble.Address
	// Pin is the only proxy to connect through, by name.
	Pin string
	// Prefer are the proxies that are tried first, in this order; those of Deny are never tried.
	Prefer, Deny []string
}

// AutoAdd says how proxies that multicast DNS finds are used.
type AutoAdd struct {
	// NoisePSK is the key of all of them; not set means plaintext.
	NoisePSK Secret
}

// Link has the times of silence after which a session with a proxy is pinged and after which it is given up. 0 <
// PingAfter < DeadAfter.
type Link struct{ PingAfter, DeadAfter time.Duration }

// Connect bounds an attempt to connect to a device: in all (Timeout), through one proxy (PerPath), and while it waits
// for a free connection slot (SlotWait). 0 < PerPath ≤ Timeout, 0 ≤ SlotWait ≤ Timeout.
type Connect struct{ Timeout, PerPath, SlotWait time.Duration }

// Share offers the proxies to other hosts; nothing is shared while Listen is empty.
type Share struct {
	// Listen is a host name or IP address without port.
	Listen string
	// Offer says whether hosts see each proxy or all of them as one.
	Offer ShareOffer
	// Identity says which device a shared proxy is for hosts.
	Identity ShareIdentity
	// BasePort is the port of the first shared proxy; the others follow, all ≤ 65535.
	BasePort uint16
	// NoisePSK is the key that other hosts need; not set means plaintext.
	NoisePSK Secret
	// Names is the pattern of the shared proxies' names; {name} stands for the proxy's.
	Names string
	// InUse says what becomes of a request for a device that another party is connected to.
	InUse InUse
}

// HTTP is the listener for metrics, health and the live page. Listen is HOST:PORT, or empty for none.
type HTTP struct{ Listen string }

// Log says in which form and from which level on lines are logged.
type Log struct {
	Level  slog.Level
	Format LogFormat
	// Redact hides Bluetooth addresses.
	Redact bool
}

// AdapterMode says which adapters are published.
type AdapterMode string

// Adapter modes: hci0 with what all proxies hear, or in addition one adapter for each of the first eight proxies.
const (
	AdaptersMerged   AdapterMode = "merged"
	AdaptersPerProxy AdapterMode = "per-proxy"
)

// ShareOffer says what other hosts see.
type ShareOffer string

// Ways to share: each proxy as one of its own, or all of them as one.
const (
	ShareEach   ShareOffer = "each"
	ShareMerged ShareOffer = "merged"
)

// ShareIdentity says which device a shared proxy is for other hosts.
type ShareIdentity string

// Identities: a further device with a name and addresses of its own, or the original device at another address.
const (
	IdentityOwn      ShareIdentity = "own"
	IdentityOriginal ShareIdentity = "original"
)

// InUse says what becomes of a request for a device that a program on D-Bus or a host is connected to.
type InUse string

// Ways to treat such a request: it shares the link, or it is refused.
const (
	InUseShare  InUse = "share"
	InUseRefuse InUse = "refuse"
)

// ScanMode is how a proxy scans; auto follows what clients ask for.
type ScanMode string

// Scan modes.
const (
	ScanAuto    ScanMode = "auto"
	ScanActive  ScanMode = "active"
	ScanPassive ScanMode = "passive"
)

// OnConflict says what happens when another host uses a proxy.
type OnConflict string

// Conflict policies: leave the proxy to the other host, or subscribe all the same.
const (
	ConflictYield  OnConflict = "yield"
	ConflictRetake OnConflict = "retake"
)

// OnNoSlot says what a connection attempt does while every slot is taken.
type OnNoSlot string

// Slot policies: wait for at most Connect.SlotWait, or fail at once.
const (
	NoSlotWait OnNoSlot = "wait"
	NoSlotFail OnNoSlot = "fail"
)

// LogFormat is the form of log lines. auto is short lines on a terminal; elsewhere it is text, with priorities for the
// journal.
type LogFormat string

// Log formats.
const (
	LogAuto LogFormat = "auto"
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)
