package bluezshim

import (
	"encoding/binary"
	"fmt"
	"time"

	"bluez-esphome/internal/ble"
)

// setupTimeout bounds by how much a slow PnP ID may delay ServicesResolved.
const setupTimeout = time.Second

// beforeResolved reads the PnP ID, unless Modalias is known, and then calls resolved, if the link is
// still the same: bluetoothd shows Modalias together with ServicesResolved.
func (p *peer) beforeResolved(resolved func()) {
	c := p.find(ble.UUIDPnPID)
	if c == nil || p.st.Modalias != "" {
		resolved()
		return
	}
	link, waiting := p.link, true
	done := func() {
		if waiting && p.connected && p.link == link {
			waiting = false
			resolved()
		}
	}
	stop := p.shim.clock.AfterFunc(setupTimeout, func() { p.shim.post(done) })
	p.shim.links.Do(p.addr, ble.Operation{Kind: ble.OpRead, Table: p.db, Handle: c.def.ValueHandle}, func(v []byte, err error) {
		stop()
		p.shim.post(func() {
			if err == nil && p.link == link {
				p.setPnPID(v)
			}
			done()
		})
	})
}

// afterResolve reads what bluetoothd's own profiles read once the services are known: the battery
// level, and, where nothing is known yet, device name and appearance.
func (p *peer) afterResolve() {
	if c := p.find(ble.UUIDBatteryLevel); c != nil && c.def.Properties.Has(ble.PropNotify) {
		p.read(c, func(v []byte) {
			p.setBattery(v)
			c.notify.internal = true
			c.subscribe()
		})
	}
	if c := p.find(ble.UUIDDeviceName); c != nil && p.st.Name == "" {
		p.read(c, func(v []byte) { p.setName(string(v)) })
	}
	if c := p.find(ble.UUIDAppearance); c != nil && p.st.Appearance == 0 {
		p.read(c, func(v []byte) {
			if len(v) >= 2 {
				p.setAppearance(binary.LittleEndian.Uint16(v))
			}
		})
	}
}

func (p *peer) find(u ble.UUID) *char {
	for _, s := range p.services {
		for _, c := range s.chars {
			if c.def.UUID == u && c.def.Properties.Has(ble.PropRead) {
				return c
			}
		}
	}
	return nil
}

// read reads for our own use; a failure leaves things as they are, and nothing is signalled as Value.
func (p *peer) read(c *char, f func([]byte)) {
	p.shim.links.Do(p.addr, ble.Operation{Kind: ble.OpRead, Table: p.db, Handle: c.def.ValueHandle}, func(v []byte, err error) {
		p.shim.post(func() {
			if err == nil && p.connected && p.chars[c.def.ValueHandle] == c {
				f(v)
			}
		})
	})
}

// setPnPID makes Modalias of a PnP ID (Device Information Service 1.1, 3.9): vendor source, vendor,
// product, version.
func (p *peer) setPnPID(v []byte) {
	if len(v) < 7 {
		return
	}
	source := map[byte]string{1: "bluetooth", 2: "usb"}[v[0]]
	if source == "" {
		return
	}
	p.st.Modalias = fmt.Sprintf("%s:v%04Xp%04Xd%04X", source,
		binary.LittleEndian.Uint16(v[1:]), binary.LittleEndian.Uint16(v[3:]), binary.LittleEndian.Uint16(v[5:]))
	p.changed("Modalias")
	p.save()
}
