package proxysim

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
)

// Times of the firmware.
const (
	// flushEvery is the tick at which a partial batch is sent and a lost subscriber noticed.
	flushEvery = 100 * time.Millisecond
	// defaultEstablishTimeout is how long the stack tries to reach a peripheral.
	defaultEstablishTimeout = 20 * time.Second
	// defaultSlots is connection_slots of the configuration.
	defaultSlots = 3
)

// Proxy is a simulated ESPHome Bluetooth proxy. Its methods are safe for
// concurrent use.
type Proxy struct {
	air *Air
	cfg ProxyConfig
	fw  firmware
	log *slog.Logger

	faults faults

	// The rest is guarded by the Air's mutex.
	clients  map[*client]bool                 // API connections
	sessions map[*apiserver.Session]*interest // those that are authenticated
	keys     provisioning
	entities []*entity // in the order in which they are listed
	clock    clock
	sleep    *event // the next change between awake and asleep
	feed
	scan scan
	slotTable
	deviceNotes
	off      bool // without power
	truncate int  // how many streams of services are still to be cut short
	hold     bool // streams of services stop after their first message
}

// NewProxy adds a proxy to the air. It scans from then on, and has no
// listener until Serve.
func NewProxy(a *Air, cfg ProxyConfig) (*Proxy, error) {
	if cfg.Name == "" || len(cfg.Name) > maxNodeName {
		return nil, fmt.Errorf("cannot make proxy %q: a node name has 1 to %d bytes", cfg.Name, maxNodeName)
	}
	if cfg.Version == "" {
		cfg.Version = DefaultVersion
	}
	fw, err := parseFirmware(cfg.Version)
	if err != nil {
		return nil, fmt.Errorf("cannot make proxy %q: %w", cfg.Name, err)
	}
	cfg.setDefaults(fw)
	if cfg.Slots < 0 || cfg.Slots > maxSlots {
		return nil, fmt.Errorf("cannot make proxy %q: it may have up to %d connection slots", cfg.Name, maxSlots)
	}
	entities, err := newEntities(cfg.Entities)
	if err != nil {
		return nil, fmt.Errorf("cannot make proxy %q: %w", cfg.Name, err)
	}
	p := &Proxy{
		air: a, cfg: cfg, fw: fw, log: cfg.Log.With("proxy", cfg.Name),
		keys: provisioning{key: cfg.PSK}, entities: entities, sessions: map[*apiserver.Session]*interest{},
		slotTable: newSlotTable(cfg.Slots), deviceNotes: newDeviceNotes(),
	}
	a.sched.mu.Lock()
	defer a.sched.mu.Unlock()
	for _, other := range a.proxies {
		if other.cfg.Name == cfg.Name {
			return nil, fmt.Errorf("cannot make proxy %q: %w", cfg.Name, errSameName)
		}
	}
	a.proxies = append(a.proxies, p)
	p.scan.mode = p.configuredMode()
	p.startScan()
	p.openWindow()
	p.startEntities()
	p.scheduleSleep()
	a.sched.after(flushEvery, p.onTick)
	return p, nil
}

const (
	maxNodeName = 31
	maxSlots    = 9
	// defaultMaxNotifications is Bluedroid's, per GATT interface.
	defaultMaxNotifications = 12
	// espressif is a prefix of Espressif's addresses.
	espressif ble.Address = 0x240ac4 << 24
)

var errSameName = errors.New("there is another of that name")

// Name is the proxy's node name.
func (p *Proxy) Name() string { return p.cfg.Name }

// device is what the proxy says of itself.
func (p *Proxy) device() apiserver.Device {
	d := apiserver.Device{
		Name: p.cfg.Name, FriendlyName: p.cfg.FriendlyName, MAC: p.cfg.MAC.String(),
		ESPHomeVersion: p.cfg.Version, CompiledAt: "2026-01-01 00:00:00 +0000",
		Model: p.cfg.Model, Manufacturer: p.cfg.Manufacturer, Features: p.cfg.Features,
		ProjectName: p.cfg.ProjectName, ProjectVersion: p.cfg.ProjectVersion, SuggestedArea: p.cfg.Area,
		DeepSleep:          p.cfg.Sleep.Asleep > 0,
		LegacyProxyVersion: p.fw.legacyVersion(!p.cfg.Passive),
	}
	if p.fw.hasBluetoothMAC() {
		d.BluetoothMAC = p.cfg.BluetoothMAC.String()
	}
	return d
}

func (p *Proxy) sessionConfig() apiserver.Config {
	return apiserver.Config{
		Device: p.device, PSK: p.Key(), Unprovisioned: p.cfg.Unprovisioned,
		PlainUntilKey: !p.fw.zeroKey(),
		SetKey:        p.setKey, ProvisioningClosed: p.provisioningClosed,
		OldNoiseHello: p.fw < 202504, APIMinor: p.fw.apiMinor(), ServerInfo: p.serverInfo(),
		Password:    p.password(),
		AuthOnHello: !p.fw.passwords() || p.fw.authOnHello() && p.cfg.Password == "",
		AnswerAuth:  p.fw.passwords(), AskTime: p.cfg.AskTime, Queue: p.cfg.Queue, Log: p.log,
	}
}

func (p *Proxy) password() string {
	if p.fw.passwords() {
		return p.cfg.Password
	}
	return ""
}

// serverInfo is HelloResponse.server_info, which once held the name too.
func (p *Proxy) serverInfo() string {
	if p.fw < 202508 {
		return fmt.Sprintf("%s (esphome v%s)", p.cfg.Name, p.cfg.Version)
	}
	return p.cfg.Version
}

// onTick is the proxy's regular work: it flushes the batch, and lets go of the links
// that a subscriber left behind.
func (p *Proxy) onTick() {
	p.air.sched.after(flushEvery, p.onTick)
	if p.dueAtTick(p.fw.flushesEveryOtherTick() && !p.cfg.Ethernet) {
		p.flush()
	}
	if p.subscriber == nil {
		for _, c := range append([]*connection(nil), p.conns...) {
			c.disconnect()
		}
	}
}

// Subscribed reports whether some session has the advertisements.
func (p *Proxy) Subscribed() bool {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	return p.subscriber != nil
}

// Clients is the number of API connections.
func (p *Proxy) Clients() int {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	return len(p.clients)
}
