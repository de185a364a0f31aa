package proxysim

import (
	"cmp"
	"hash/fnv"
	"log/slog"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
)

// ProxyConfig describes a simulated proxy. Zero fields mean what the comments say.
type ProxyConfig struct {
	Name         string // node name, 1 to 31 bytes; peripherals' RSSI maps refer to it
	FriendlyName string // Name
	// MAC and BluetoothMAC default to addresses made from Name, the second two above the first as on
	// an ESP32.
	MAC, BluetoothMAC ble.Address
	Version           string // ESPHome version, DefaultVersion
	// Passive: no active connections (bluetooth_proxy: active: false).
	Passive bool
	// Features replaces the flags that Version and Passive give, unless it is 0.
	Features ble.Features
	Slots    int // connection slots, 1 to 9; 3. A passive proxy has none.
	Access
	Stack
	Board
	// ScanPassive is the scan mode of the configuration, normally active.
	ScanPassive bool
	// MaxClients is the number of API clients; 0 means what the version has.
	MaxClients int
	// Ethernet: partial batches of advertisements leave at every tick, as on Wi-Fi they did up to 2026.7.
	Ethernet bool
	// AskTime: the proxy asks its clients for the time.
	AskTime bool
	// Entities are what the device has besides the proxy.
	Entities []EntitySpec
	// Sleep makes it sleep deeply.
	Sleep Sleep
	// Filter, unless nil, says which advertisements are forwarded, as builds with
	// USE_BLUETOOTH_PROXY_ADVERTISEMENT_FILTER decide. It must not call the proxy.
	Filter func(ble.RawAdvert) bool
	// Queue bounds what waits for one client.
	Queue apiserver.QueueLimits
	Log   *slog.Logger // discarded if nil
}

// Access is what a client needs to be let in.
type Access struct {
	// PSK is the key; nil means plaintext.
	PSK *[apiwire.KeySize]byte
	// Unprovisioned, with a nil PSK: encryption is built in, but a client has to set the key (message 124).
	Unprovisioned bool
	// ProvisioningWindow is how long such a device waits for a key after it has started, before it turns
	// clients away; 0: for ever.
	ProvisioningWindow time.Duration
	Password           string // only firmware before 2026.1 looks at it
}

// Stack is the proxy's radio and the Bluetooth stack of its SDK.
type Stack struct {
	// EstablishTimeout is how long an attempt to connect lasts; 20 s.
	EstablishTimeout time.Duration
	// EstablishError is the code with which it ends then: 133 since 2026.8; before, 0x100, or 0x3e on older stacks.
	EstablishError int32
	// SilentEnd: a link that the client ends is reported without a reason, as some stacks do, not with 0x16.
	SilentEnd bool
	// PassiveRadio: the radio cannot scan actively, and says "passive" whatever it is asked.
	PassiveRadio bool
	// SplitReports: advertisement and scan response are reported one after the other, as by chips that don't merge them.
	SplitReports bool
	// MaxNotifications is the number of handles that may be registered on one link; 12.
	MaxNotifications int
}

func (s *Stack) setDefaults(fw firmware) {
	if s.EstablishTimeout == 0 {
		s.EstablishTimeout = defaultEstablishTimeout
	}
	if s.EstablishError == 0 {
		s.EstablishError = fw.establishError()
	}
	if s.MaxNotifications == 0 {
		s.MaxNotifications = defaultMaxNotifications
	}
}

// Board is what the proxy says of its hardware and its project.
type Board struct {
	// Model, Manufacturer and Platform default to esp32dev, Espressif and ESP32.
	Model, Manufacturer, Platform string
	// ProjectName ("maker.product"), ProjectVersion and Area are empty on most devices.
	ProjectName, ProjectVersion, Area string
}

func (b *Board) setDefaults() {
	b.Model = cmp.Or(b.Model, "esp32dev")
	b.Manufacturer = cmp.Or(b.Manufacturer, "Espressif")
	b.Platform = cmp.Or(b.Platform, "ESP32")
}

func (c *ProxyConfig) setDefaults(fw firmware) {
	if c.FriendlyName == "" {
		c.FriendlyName = c.Name
	}
	if c.MAC == 0 {
		h := fnv.New32a()
		_, _ = h.Write([]byte(c.Name))
		c.MAC = espressif | ble.Address(h.Sum32()&0xfffff0)
	}
	if c.BluetoothMAC == 0 {
		c.BluetoothMAC = c.MAC&^0xff | (c.MAC+2)&0xff
	}
	if c.Features == 0 {
		c.Features = fw.features(!c.Passive)
	} else {
		c.Passive = !c.Features.Has(ble.FeatureActiveConnections)
	}
	if c.Passive {
		c.Slots = 0
	} else if c.Slots == 0 {
		c.Slots = defaultSlots
	}
	if c.MaxClients == 0 {
		c.MaxClients = fw.apiClients()
	}
	c.Stack.setDefaults(fw)
	c.Board.setDefaults()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}
