package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bluez-esphome/tests/bench/load"
	"bluez-esphome/tests/bench/peer"

	"github.com/godbus/dbus/v5"
)

const aboutGatt = `ReadValue, one call after the other, of 20 bytes from an encrypted proxy that answers at once. The bare relay is a Go program that
takes the call from the bus, asks the proxy and passes the answer on, in one goroutine without any logic; the caller is the same. The reference reads by its own calls, without
D-Bus. The CPU is the process's, the time the caller's.`

const (
	relay   = "relay"
	perRead = "CPU per read, µs"
	p50Read = "time, p50, µs"
)

// gattSpec is an encrypted proxy that hears ten devices, the first of which can be connected to.
func gattSpec() load.Spec {
	s := air(1, 10, psk)
	s.GATT = true
	return s
}

func gatt(ctx context.Context, w *world, r *result) error {
	g := r.group("")
	for range w.rounds {
		for _, one := range []func(context.Context, *group) error{w.readReference, w.readDaemon, w.readRelay} {
			if err := one(ctx, g); err != nil {
				return err
			}
		}
	}
	g.ratio(perRead, daemon, relay, 1.5)
	g.ratio(p50Read, daemon, relay, 1.2)
	return nil
}

// reads is the number of reads that are measured.
func (w *world) reads() int { return w.scale(4000) }

func (w *world) readDaemon(ctx context.Context, g *group) error {
	l, err := w.connected(ctx)
	if err != nil {
		return err
	}
	defer l.stop()
	defer l.conn.Close()
	path, err := l.char(ctx, load.ValueUUID)
	if err != nil {
		return err
	}
	return w.read(ctx, g, daemon, l.daemon, l.conn.Object("org.bluez", path))
}

func (w *world) readRelay(ctx context.Context, g *group) error {
	l, err := w.load(ctx, gattSpec())
	if err != nil {
		return err
	}
	defer l.stop()
	device, err := strconv.ParseUint(strings.ReplaceAll(load.Address, ":", ""), 16, 64)
	if err != nil {
		return err
	}
	arg, err := json.Marshal(peer.RelayConfig{Bus: w.bus.Address, Proxy: l.addresses[0], PSK: psk, Device: device, Handle: load.ValueHandle})
	if err != nil {
		return err
	}
	p, err := spawn(ctx, nil, w.self, "relay", string(arg))
	if err != nil {
		return err
	}
	defer p.stop()
	name, err := p.expect(ctx, "READY")
	if err != nil {
		return err
	}
	c, err := dbus.Connect(w.bus.Address)
	if err != nil {
		return err
	}
	defer c.Close()
	return w.read(ctx, g, relay, p, c.Object(name, devPath(load.Address)))
}

// read measures reads of a characteristic.
func (w *world) read(ctx context.Context, g *group, who string, p *process, o dbus.BusObject) error {
	count := w.reads()
	took := make([]float64, count)
	do := func(n int) error {
		for i := range n {
			start := time.Now()
			call := o.CallWithContext(ctx, charIface+".ReadValue", 0, map[string]dbus.Variant{})
			if call.Err != nil {
				return call.Err
			}
			took[i] = micros(time.Since(start))
			if b, ok := call.Body[0].([]byte); !ok || len(b) != 20 {
				return fmt.Errorf("ReadValue gave %v, not 20 bytes", call.Body)
			}
		}
		return nil
	}
	if err := do(count / 10); err != nil {
		return p.failed(err)
	}
	c, err := w.measure(p, func() error { return do(count) })
	if err != nil {
		return err
	}
	g.add(who, perRead, micros(c.process)/float64(count))
	g.add(who, "CPU of dbus-daemon, µs", micros(c.bus)/float64(count))
	g.add(who, p50Read, median(took))
	return nil
}

func (w *world) readReference(ctx context.Context, g *group) error {
	l, p, err := w.connectedReference(ctx)
	if err != nil {
		return err
	}
	defer l.stop()
	defer p.stop()
	count := w.reads()
	read := func(n int) (string, error) {
		if err := p.say(fmt.Sprintf("read %s %d", load.ValueUUID, n)); err != nil {
			return "", err
		}
		return p.expect(ctx, "READ")
	}
	if _, err := read(max(1, count/10)); err != nil {
		return err
	}
	var p50 string
	c, err := w.measure(p, func() (err error) {
		p50, err = read(count)
		return err
	})
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseFloat(p50, 64)
	if err != nil {
		return err
	}
	g.add(reference, perRead, micros(c.process)/float64(count))
	g.add(reference, p50Read, seconds*1e6)
	return nil
}
