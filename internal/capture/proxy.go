package capture

import (
	"context"
	"sync"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
)

// Session is a proxy's session as package gatt uses it.
type Session = gatt.WholeProxy

// tapped is a session whose operations are recorded. It is comparable: two of the same session are equal.
type tapped struct {
	Session
	t *Tap
}

var _ Session = tapped{}

// Proxy gives a session that does what p does, and tells t of it.
func (t *Tap) Proxy(p Session) gatt.Proxy { return tapped{p, t} }

// Connect implements gatt.Proxy.
func (p tapped) Connect(ctx context.Context, a ble.Address, typ ble.AddressType, cached bool) (int, error) {
	p.t.connecting(p.ID(), a, typ)
	mtu, err := p.Session.Connect(ctx, a, typ, cached)
	if err != nil {
		p.t.connectFailed(p.ID(), a, err)
	} else {
		p.t.LinkReport(p.ID(), a, true, mtu, 0)
	}
	return mtu, err
}

// Disconnect implements gatt.Proxy.
func (p tapped) Disconnect(ctx context.Context, a ble.Address) error {
	p.t.disconnecting(p.ID(), a)
	return p.Session.Disconnect(ctx, a)
}

// LinkMTU implements gatt.MTUTeller.
func (p tapped) LinkMTU(ctx context.Context, a ble.Address, typ ble.AddressType) (int, error) {
	mtu, err := p.Session.LinkMTU(ctx, a, typ)
	if err == nil {
		p.t.sized(p.ID(), a, mtu)
	}
	return mtu, err
}

// Do implements gatt.Proxy.
func (p tapped) Do(ctx context.Context, a ble.Address, op ble.Operation) ([]byte, error) {
	if !p.t.active.Load() && op.Kind != ble.OpWriteDescriptor { // configurations are remembered for captures that begin later
		return p.Session.Do(ctx, a, op)
	}
	p.t.asked(p.ID(), a, op)
	value, err := p.Session.Do(ctx, a, op)
	p.t.answered(p.ID(), a, op, value, err)
	return value, err
}

// Begin implements gatt.Starter.
func (p tapped) Begin(a ble.Address, op ble.Operation, done func([]byte, error)) (func(), bool) {
	if !p.t.active.Load() && op.Kind != ble.OpWriteDescriptor { // configurations are remembered for captures that begin later
		return p.Session.Begin(a, op, done)
	}
	var asked sync.Once // the answer may come before it is known that the request was sent
	ask := func() { p.t.asked(p.ID(), a, op) }
	cancel, ok := p.Session.Begin(a, op, func(value []byte, err error) {
		asked.Do(ask)
		p.t.answered(p.ID(), a, op, value, err)
		done(value, err)
	})
	if ok {
		asked.Do(ask)
	}
	return cancel, ok
}

// Pair implements gatt.Proxy.
func (p tapped) Pair(ctx context.Context, a ble.Address) error {
	err := p.Session.Pair(ctx, a)
	p.t.note(p.ID(), a, func(r *reader, l *link) {
		if err != nil {
			r.log(l, "pairing: "+err.Error())
			return
		}
		r.encrypted(l)
	})
	return err
}

// SetConnectionParams implements gatt.Proxy.
func (p tapped) SetConnectionParams(ctx context.Context, a ble.Address, params ble.ConnectionParams) error {
	err := p.Session.SetConnectionParams(ctx, a, params)
	p.t.note(p.ID(), a, func(r *reader, l *link) {
		if err != nil {
			r.log(l, "connection parameters: "+err.Error())
			return
		}
		r.updated(l, params)
	})
	return err
}
