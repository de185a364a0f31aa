package proxysim

import (
	"context"
	"errors"
	"fmt"

	"bluez-esphome/internal/ble"
)

// Air is the radio medium that proxies and peripherals share. All methods are
// safe for concurrent use.
type Air struct {
	sched       *scheduler
	peripherals []*peripheral
	proxies     []*Proxy
}

// NewAir makes an air with peripherals in it. They are silent until Run.
func NewAir(specs []DeviceSpec) (*Air, error) {
	a := &Air{sched: newScheduler()}
	a.sched.mu.Lock()
	defer a.sched.mu.Unlock()
	for _, s := range specs {
		p, err := newPeripheral(s)
		if err != nil {
			return nil, err
		}
		p.air = a
		a.peripherals = append(a.peripherals, p)
		p.start()
	}
	return a, nil
}

// Run lets time pass on the air until ctx ends.
func (a *Air) Run(ctx context.Context) error {
	a.sched.run(ctx)
	return context.Cause(ctx)
}

// IDs lists the peripherals in the order of the file.
func (a *Air) IDs() []string {
	ids := make([]string, len(a.peripherals))
	for i, p := range a.peripherals {
		ids[i] = p.spec.ID
	}
	return ids
}

// ErrNoLink: the peripheral has no connection.
var ErrNoLink = errors.New("not connected")

// Status is the state of one peripheral, in the form of the control protocol.
type Status struct {
	Connections   int      `json:"connections"`
	Advertising   bool     `json:"advertising"`
	Writes        []Write  `json:"writes"`
	Subscriptions []uint16 `json:"subscriptions"` // value handles with a CCCD that is not zero
}

// with runs fn on a peripheral under the lock.
func (a *Air) with(id string, fn func(*peripheral) error) error {
	a.sched.mu.Lock()
	defer a.sched.mu.Unlock()
	for _, p := range a.peripherals {
		if p.spec.ID == id {
			return fn(p)
		}
	}
	return fmt.Errorf("cannot find peripheral %q", id)
}

// Reset forgets the writes, restores values and advertisement, and advertises.
func (a *Air) Reset(id string) error {
	return a.with(id, func(p *peripheral) error {
		p.writes = nil
		p.restoreTable()
		p.restoreAdvert()
		p.stopFrames()
		p.startFrames(0)
		p.changed()
		p.resumeAdvertising()
		return nil
	})
}

// ForgetBonds makes the peripheral forget every pairing; a link that is
// encrypted stays so.
func (a *Air) ForgetBonds(id string) error {
	return a.with(id, func(p *peripheral) error {
		clear(p.bonds)
		return nil
	})
}

// Advertise starts or stops advertising. While there is a link it does not
// advertise, and takes it up after that.
func (a *Air) Advertise(id string, on bool) error {
	return a.with(id, func(p *peripheral) error {
		p.wanted = on
		if on {
			p.resumeAdvertising()
			return nil
		}
		p.stopAdvertising()
		for _, px := range a.proxies {
			px.forget(p.spec.Address)
		}
		return nil
	})
}

// SetAdvertisement changes what a peripheral advertises; nil keeps a part. The
// slices must not change afterwards.
func (a *Air) SetAdvertisement(id string, adv, scanRsp []byte) error {
	return a.with(id, func(p *peripheral) error {
		if err := checkPayload(adv, scanRsp); err != nil {
			return err
		}
		p.stopFrames()
		if adv == nil {
			adv = p.adv
		}
		if scanRsp == nil {
			scanRsp = p.scanRsp
		}
		p.setPayload(adv, scanRsp)
		p.changed()
		return nil
	})
}

// SetRSSI changes how strongly a proxy hears a peripheral, in dBm; with heard
// false it does not any more. For the other proxies nothing changes.
func (a *Air) SetRSSI(id, proxy string, dBm int8, heard bool) error {
	return a.with(id, func(p *peripheral) error {
		if p.rssi == nil {
			p.rssi = map[string]int8{anyProxy: defaultRSSI}
		}
		p.unheard[proxy] = !heard
		if heard {
			p.rssi[proxy] = dBm
		} else {
			delete(p.rssi, proxy)
		}
		return nil
	})
}

// HCI reasons for which a link ends (Bluetooth Core, Vol 1 Part F, 1.3).
const (
	ReasonTimeout int32 = 0x08
	ReasonRemote  int32 = 0x13
	ReasonLocal   int32 = 0x16
)

// Disconnect ends the peripheral's connection, with an HCI reason as its
// proxy sees it.
func (a *Air) Disconnect(id string, reason int32) error {
	return a.with(id, func(p *peripheral) error {
		l := p.link
		if l == nil {
			return ErrNoLink
		}
		l.close()
		l.host.lost(reason)
		return nil
	})
}

// Notify sends a notification, or an indication, if the client asked for it.
func (a *Air) Notify(id string, handle uint16, value []byte, indicate bool) error {
	return a.with(id, func(p *peripheral) error {
		bit := uint16(cccdNotify)
		if indicate {
			bit = cccdIndicate
		}
		if p.link != nil {
			p.link.notify(handle, value, bit)
		}
		return nil
	})
}

// SetValue changes an attribute without telling anybody.
func (a *Air) SetValue(id string, handle uint16, value []byte) error {
	return a.with(id, func(p *peripheral) error {
		attr := p.table.byHandle[handle]
		if attr == nil || len(value) > ble.MaxAttribute {
			return fmt.Errorf("cannot set handle %d to %d bytes: no such attribute, or longer than %d", handle, len(value), ble.MaxAttribute)
		}
		attr.value = value
		return nil
	})
}

// Status says what a peripheral is doing.
func (a *Air) Status(id string) (Status, error) {
	var s Status
	err := a.with(id, func(p *peripheral) error {
		s = Status{Advertising: p.advertising != nil, Writes: append([]Write{}, p.writes...), Subscriptions: []uint16{}}
		if p.link != nil {
			s.Connections = 1
			s.Subscriptions = p.link.subscriptions()
		}
		return nil
	})
	return s, err
}
