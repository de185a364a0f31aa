package fleet

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"

	"bluez-esphome/internal/adapters"
	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/lockorder"
	"bluez-esphome/internal/scanmode"
	"bluez-esphome/internal/scanner"
)

// A Proxy is one proxy of a Set. Its methods are goroutine-safe.
type Proxy struct {
	*apiconn.Proxy
	set      *Set
	cfg      config.Proxy
	instance string // of multicast DNS, by which it was found; "" for configured ones
	mode     *scanmode.Follower

	telling lockorder.Mutex[lockorder.ProxyTelling] // keeps what hosts are told of the proxy in order

	mu lockorder.Mutex[lockorder.Proxy]
	identity
	own   *adapters.Own
	info  apiconn.Info
	said  apiconn.Info // of the last session that knew the device, also one that another host did not let come up
	up    bool         // between Online and Offline
	let   bool         // its session was let in, see admit, and has not ended
	since time.Time
	seat  *time.Timer // gives it its numbers; nil: it has them, or is offline
	heard time.Time
	scanning
	offer

	stop func() // ends Run; under Set.mu
}

// identity is who a Proxy is.
type identity struct {
	id      string      // "" before the first session
	mac     ble.Address // what it said first; 0: nothing yet, or no MAC
	moved   string      // what to know since another device answers at the address, as long as it is movedTo
	movedTo ble.Address
	name    string // for people, unique among the present ones; "" before the first session if none is configured
}

// offer is as what a Proxy is shared.
type offer struct {
	shared  Shared       // nil: offline, or not shared
	offered apiconn.Info // what shared was made of
}

// scanning is what a Proxy said of its scanner, if it said anything.
type scanning struct {
	scan  Scan
	known bool // scan is known
}

// take notes what the proxy says now, and reports whether its mode is another.
func (s *scanning) take(now Scan) bool {
	changed := !s.known || s.scan.Mode != now.Mode
	s.scan, s.known = now, true
	return changed
}

// Scan is what a proxy said of its scanner.
type Scan struct {
	State            ble.ScannerState
	Mode, Configured ble.ScannerMode
}

// HostPort is where a configured proxy is, as host:port.
func HostPort(p config.Proxy) string {
	return net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port)))
}

// ID tells the proxy from all others, see the package; "" before its first session.
func (p *Proxy) ID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.id
}

// Name is for people: the configured name, else what the proxy calls itself, made unique; "" before its first session.
func (p *Proxy) Name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.name
}

// Label names the proxy; before its first session and without a configured name it is its address.
func (p *Proxy) Label() string {
	n := p.Name()
	switch {
	case n != "":
		return n
	case p.cfg.Port != config.DefaultPort: // several may be at one address
		return HostPort(p.cfg)
	}
	return p.cfg.Host
}

// Config is the proxy's entry of the configuration, or what was made of an announcement. Only its Secrets are secret.
func (p *Proxy) Config() config.Proxy { return p.cfg }

// Found reports whether the proxy is none of the configuration but was found by the instance of multicast DNS.
func (p *Proxy) Found() (instance string, ok bool) { return p.instance, p.instance != "" }

// MAC is what the proxy says of itself, 0 if nothing yet.
func (p *Proxy) MAC() ble.Address {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mac
}

// Up reports whether a session is up, also one that another host displaced.
func (p *Proxy) Up() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up
}

// here reports whether a session is up, or was let in and will be up in a moment.
func (p *Proxy) here() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up || p.let
}

// OwnAdapter is the proxy's adapter, nil if it has none or was not online yet.
func (p *Proxy) OwnAdapter() *adapters.Own {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.own
}

// Note is what the operator should know though nothing is wrong, "" if there is nothing.
func (p *Proxy) Note() string {
	note := p.Proxy.Note()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.said.Via) > 0 {
		through := "It is reached through the daemon on " + Chain(p.said.Via)
		if note != "" {
			through += ". "
		}
		note = through + note
	}
	switch {
	case p.moved == "" || p.movedTo != p.mac:
		return note
	case note == "":
		return p.moved
	}
	return p.moved + ". " + note
}

// Via are the daemons through which the proxy is reached, the nearest first: each an address, a space and the name of its
// host. It is empty for one that is connected to directly. Where a daemon shares all its proxies as one, those behind it are in
// no order.
func (p *Proxy) Via() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Via
}

// BluetoothAddress is the address of the proxy's controller, as it says.
func (p *Proxy) BluetoothAddress() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.info.BluetoothMAC
}

// radio is the address of the proxy's controller, its MAC where it does not say.
func (p *Proxy) radio() ble.Address {
	if a, err := ble.ParseAddress(p.BluetoothAddress()); err == nil {
		return a
	}
	return p.MAC()
}

// ScanMode is passive or active, or empty where the proxy does not say.
func (p *Proxy) ScanMode() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.known {
		return ""
	}
	return p.scan.Mode.String()
}

// LastHeard is when an advertisement last came; zero never.
func (p *Proxy) LastHeard() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard
}

// hostLabel is the first label of a host name, "" for an IP address.
func hostLabel(host string) string {
	if net.ParseIP(host) != nil {
		return ""
	}
	label, _, _ := strings.Cut(host, ".")
	return label
}

// each calls f for the tables that the proxy feeds.
func (p *Proxy) each(f func(*scanner.Table)) {
	f(p.set.cfg.Merged)
	if own := p.OwnAdapter(); own != nil {
		f(own.Table)
	}
}

var scanModes = map[config.ScanMode]scanner.ScanMode{
	config.ScanAuto: scanner.ScanAuto, config.ScanActive: scanner.ScanAlwaysActive, config.ScanPassive: scanner.ScanAlwaysPassive,
}

// wish is the mode for the proxy now: active if an adapter on which it is heard, or a host that shares it, wants that.
func (p *Proxy) wish() (wish ble.ScannerMode, again time.Duration) {
	if sh := p.Shared(); p.cfg.ScanMode == config.ScanAuto && sh != nil && sh.WantsActive() {
		return ble.ScanActive, 0
	}
	views := []*scanmode.View{p.set.cfg.View, nil}
	if own := p.OwnAdapter(); own != nil {
		views[1] = &own.Mode
	}
	if further := p.set.cfg.Views; further != nil {
		views = append(views, further(p.ID())...)
	}
	return scanmode.Wish(scanModes[p.cfg.ScanMode], views...)
}

func (p *Proxy) setMode(ctx context.Context, mode ble.ScannerMode) {
	if err := p.SetScannerMode(ctx, mode); err != nil {
		p.set.cfg.Logger.Debug("Scan mode not set", "proxy", p.Label(), "error", err)
	}
}

// TurnsActive reports whether the proxy scans passively now, and actively as soon as somebody wants it.
func (p *Proxy) TurnsActive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up && p.known && p.cfg.ScanMode == config.ScanAuto && p.scan.Mode == ble.ScanPassive
}

// ModeChanged has the proxy's scan mode looked at again.
func (p *Proxy) ModeChanged() { p.mode.Changed() }
