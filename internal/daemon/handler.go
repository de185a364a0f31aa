package daemon

import (
	"net"
	"strconv"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
)

func hostPort(p config.Proxy) string {
	return net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port)))
}

// handler takes what one session says, in its reader goroutine, and hands it on.
type handler struct{ p *proxy }

var _ apiconn.Handler = handler{}

// batchDelay is how long the firmware may keep adverts before it sends them: what it heard
// before a change of mode may come so much after it (100 ms, on Wi-Fi 200 ms).
const batchDelay = 250 * time.Millisecond

func (h handler) Online(_ *apiconn.Proxy, info apiconn.Info) {
	p := h.p
	p.set.adopt(p, info.Name)
	p.mu.Lock()
	p.info, p.known = info, false
	name := p.name
	p.mu.Unlock()
	d := p.set.d
	d.ownAdapter(p, info.MAC, info.BluetoothMAC)
	d.table.ProxyUp(name)
	if p.own != nil {
		p.own.ProxyUp(name)
		d.shim.SetOnline(p.index, true)
	}
	d.links.AddProxy(p)
	d.links.ProxyOnline(name)
	select {
	case p.mode <- struct{}{}:
	default:
	}
	p.obj.changed("Name", "State", "LastError", "ESPHomeVersion", "Features", "BluetoothAddress", "ScanMode", "SlotLimit", "SlotFree", "Allocated")
}

func (h handler) Offline(_ *apiconn.Proxy, err error) {
	d, name := h.p.set.d, h.p.Name()
	d.table.ProxyDown(name)
	if h.p.own != nil {
		h.p.own.ProxyDown(name)
		d.shim.SetOnline(h.p.index, false)
	}
	d.links.ProxyOffline(name, err)
	h.p.obj.changed("State", "LastError", "SlotLimit", "SlotFree", "Allocated")
}

func (h handler) Adverts(_ *apiconn.Proxy, at time.Time, adverts []ble.RawAdvert) {
	h.p.mu.Lock()
	h.p.heard = at
	name := h.p.name
	h.p.mu.Unlock()
	h.p.set.d.table.Adverts(name, at, adverts)
	if h.p.own != nil {
		h.p.own.Adverts(name, at, adverts)
	}
}

func (h handler) ScannerState(_ *apiconn.Proxy, state ble.ScannerState, mode, _ ble.ScannerMode) {
	p, running := h.p, state == ble.ScannerRunning
	p.mu.Lock()
	changed := !p.known || p.scanning != mode
	p.scanning, p.known = mode, true
	name := p.name
	p.mu.Unlock()
	table := p.set.d.table
	if running {
		table.ResumeProxy(name)
	} else {
		table.PauseProxy(name) // it connects, or changes its mode
	}
	if running && mode == ble.ScanActive {
		time.AfterFunc(batchDelay, func() { table.HoldProxy(name, false) })
	}
	if changed {
		p.obj.changed("ScanMode")
	}
}

func (h handler) Slots(_ *apiconn.Proxy, slots ble.Slots) {
	h.p.set.d.links.SlotsReport(h.p.Name(), slots)
	h.p.obj.changed("SlotLimit", "SlotFree", "Allocated")
}

func (h handler) LinkUp(_ *apiconn.Proxy, a ble.Address, mtu int) {
	h.p.set.d.links.LinkReport(h.p.Name(), a, true, mtu, 0)
}

func (h handler) LinkDown(_ *apiconn.Proxy, a ble.Address, code int32) {
	h.p.set.d.links.LinkReport(h.p.Name(), a, false, 0, code)
}

func (h handler) Notification(_ *apiconn.Proxy, a ble.Address, handle uint16, value []byte) {
	h.p.set.d.links.Notification(h.p.Name(), a, handle, value)
}

func (h handler) PairingChanged(_ *apiconn.Proxy, a ble.Address, paired bool, _ int32) {
	h.p.set.d.links.PairingReport(h.p.Name(), a, paired)
}
