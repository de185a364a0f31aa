package daemon

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/dbusobj"

	"github.com/godbus/dbus/v5"
)

// A proxyObject tells of one proxy on the bus: org.bluez_esphome.Proxy1.
type proxyObject struct {
	conn  *dbusobj.Conn
	obj   *dbusobj.Object
	iface *dbusobj.Interface

	mu    sync.Mutex
	dirty []string // properties that wait to be signalled
}

// publish adds the object, before the loop runs.
func (o *proxyObject) publish(conn *dbusobj.Conn, p *proxy, iface *dbusobj.Interface) {
	label := p.cfg.Name
	if label == "" {
		label = p.cfg.Host
	}
	path := proxyPath(label)
	for i := 2; conn.Object(path) != nil; i++ {
		path = dbus.ObjectPath(fmt.Sprintf("%s_%d", proxyPath(label), i))
	}
	o.conn, o.iface = conn, iface
	o.obj = conn.Add(path, p, iface)
}

// changed signals properties that changed; what changes before the loop gets to it goes into one signal.
func (o *proxyObject) changed(props ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := len(o.dirty) == 0
	for _, p := range props {
		if !slices.Contains(o.dirty, p) {
			o.dirty = append(o.dirty, p)
		}
	}
	if first {
		o.conn.Post(o.signal)
	}
}

func (o *proxyObject) signal() {
	o.mu.Lock()
	props := o.dirty
	o.dirty = nil
	o.mu.Unlock()
	o.obj.Changed(o.iface, props...)
}

// newProxyInterface makes org.bluez_esphome.Proxy1. LastHeard moves all the time and is never signalled; neither is Links.
func newProxyInterface() *dbusobj.Interface {
	of := func(f func(p *proxy, e *dbusobj.Encoder)) func(*dbusobj.Object, *dbusobj.Encoder) {
		return func(o *dbusobj.Object, e *dbusobj.Encoder) { f(o.Data().(*proxy), e) }
	}
	return &dbusobj.Interface{
		Name: "org.bluez_esphome.Proxy1",
		Properties: []dbusobj.Property{
			{Name: "Name", Type: "s", Get: of(func(p *proxy, e *dbusobj.Encoder) { e.String(p.label()) })},
			{Name: "Host", Type: "s", Get: of(func(p *proxy, e *dbusobj.Encoder) { e.String(hostPort(p.cfg)) })},
			{Name: "State", Type: "s", Get: of(func(p *proxy, e *dbusobj.Encoder) { e.String(p.State().String()) })},
			{Name: "LastError", Type: "s", Get: of(func(p *proxy, e *dbusobj.Encoder) { e.String(p.LastError()) })},
			{Name: "ESPHomeVersion", Type: "s", Get: of(func(p *proxy, e *dbusobj.Encoder) { e.String(p.Version()) })},
			{Name: "Features", Type: "as", Get: of(func(p *proxy, e *dbusobj.Encoder) { e.Strings(p.Features().Names()) })},
			{Name: "BluetoothAddress", Type: "s", Get: of(func(p *proxy, e *dbusobj.Encoder) { e.String(p.bluetoothAddress()) })},
			{Name: "ScanMode", Type: "s", Get: of(func(p *proxy, e *dbusobj.Encoder) { e.String(p.scanMode()) })},
			{Name: "SlotLimit", Type: "q", Get: of(func(p *proxy, e *dbusobj.Encoder) { e.Uint16(clamp16(p.Slots().Limit)) })},
			{Name: "SlotFree", Type: "q", Get: of(func(p *proxy, e *dbusobj.Encoder) { e.Uint16(clamp16(p.Slots().Free)) })},
			{Name: "Allocated", Type: "as", Get: of(func(p *proxy, e *dbusobj.Encoder) {
				e.Array("s", func() {
					for _, a := range p.Slots().Allocated {
						e.String(a.String())
					}
				})
			})},
			{Name: "Note", Type: "s", Get: of(func(p *proxy, e *dbusobj.Encoder) { e.String(p.Note()) })},
			{Name: "Links", Type: "aa{sv}", Get: of(func(p *proxy, e *dbusobj.Encoder) { encodeLinks(e, p.linksNow()) })},
			{Name: "LastHeard", Type: "t", Get: of(func(p *proxy, e *dbusobj.Encoder) { e.Uint64(p.lastHeard()) })},
		},
	}
}

func clamp16(n int) uint16 { return uint16(min(max(n, 0), 0xffff)) }

// label names the proxy; before its first session and without a configured name it is its address.
func (p *proxy) label() string {
	switch n := p.Name(); {
	case n != "":
		return n
	case p.cfg.Port != config.DefaultPort: // several may be at one address
		return hostPort(p.cfg)
	}
	return p.cfg.Host
}

func (p *proxy) bluetoothAddress() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.info.BluetoothMAC
}

// scanMode is passive or active, or empty where the proxy does not say.
func (p *proxy) scanMode() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.known {
		return ""
	}
	return p.scan.mode.String()
}

// heardAt is when an advertisement last came; zero never.
func (p *proxy) heardAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard
}

// lastHeard is when an advertisement last came, in seconds since 1970; 0 never.
func (p *proxy) lastHeard() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heard.IsZero() {
		return 0
	}
	return uint64(p.heard.Unix())
}
