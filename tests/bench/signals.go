package main

import (
	"context"
	"fmt"

	"bluez-esphome/tests/bench/load"
)

const aboutEmit = `500 devices that together send 40,000 advertisements a second, each with other manufacturer data and another signal strength every time, and one client that reads every
signal: about as many as the bus passes on, so that nearly each change is a signal of its own. Of the daemon's CPU, what the
same load costs while nobody discovers is taken off. Beside it, a Go program that emits the same change with godbus's Conn.Emit, on the
same bus to the same client.`

// emitRate is in advertisements per second. At an unlimited rate, many changes become one signal, and the cost of a
// signal would include that of the changes that no signal reports.
const emitRate = 40_000

const perSignal = "CPU per PropertiesChanged, µs"

func emit(ctx context.Context, w *world, r *result) error {
	g := r.group("")
	for range w.rounds {
		if err := w.emitDaemon(ctx, g); err != nil {
			return err
		}
		if err := w.emitPlain(ctx, g); err != nil {
			return err
		}
	}
	g.ratio(perSignal, daemon, plain, 0.2)
	return nil
}

// plain names a small server, package peer's, that uses godbus as it is.
const plain = "godbus"

func (w *world) emitDaemon(ctx context.Context, g *group) error {
	l, err := w.running(ctx, load.Spec{Proxies: 1, Devices: 500, Frame: frame, Mix: load.MixSensors, ChangeEvery: 1}, settings{})
	if err != nil {
		return err
	}
	defer l.stop()
	count := w.scale(3 * emitRate)
	send := func() error {
		_, err := l.send(ctx, count, emitRate)
		return err
	}
	if err := l.everybody(ctx, 4); err != nil {
		return l.daemon.failed(err)
	}
	alone, err := w.measure(l.daemon, send)
	if err != nil {
		return err
	}
	c, err := w.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := l.discover(ctx, c.Conn); err != nil {
		return err
	}
	if err := c.quiet(ctx); err != nil {
		return err
	}
	before := c.count.Load()
	told, err := w.measure(l.daemon, func() error {
		if err := send(); err != nil {
			return err
		}
		return c.quiet(ctx)
	})
	if err != nil {
		return err
	}
	signals := float64(c.count.Load() - before)
	if signals == 0 {
		return fmt.Errorf("no PropertiesChanged came of %d advertisements", count)
	}
	w.log("%.0f signals of %d advertisements", signals, count)
	g.add(daemon, "signals per advertisement", signals/float64(count))
	g.add(daemon, perSignal, micros(told.process-alone.process)/signals)
	g.add(daemon, "CPU of dbus-daemon, µs", micros(told.bus)/signals)
	return nil
}

func (w *world) emitPlain(ctx context.Context, g *group) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	defer c.Close()
	p, err := spawn(ctx, nil, w.self, "emit", w.bus.Address)
	if err != nil {
		return err
	}
	defer p.stop()
	if _, err := p.expect(ctx, "READY"); err != nil {
		return err
	}
	emit := func(count int) error {
		if err := p.say(fmt.Sprint(count)); err != nil {
			return err
		}
		_, err := p.expect(ctx, "DONE")
		return err
	}
	if err := emit(w.scale(2000)); err != nil {
		return err
	}
	if err := c.quiet(ctx); err != nil {
		return err
	}
	count, before := w.scale(20_000), c.count.Load()
	cost, err := w.measure(p, func() error {
		if err := emit(count); err != nil {
			return err
		}
		return c.quiet(ctx)
	})
	if err != nil {
		return err
	}
	if got := c.count.Load() - before; got != int64(count) {
		return fmt.Errorf("%d of %d signals of godbus came", got, count)
	}
	g.add(plain, perSignal, micros(cost.process)/float64(count))
	g.add(plain, "CPU of dbus-daemon, µs", micros(cost.bus)/float64(count))
	return nil
}
