package main

import (
	"context"

	"github.com/godbus/dbus/v5"
)

const aboutManaged = `The server's CPU, and what it allocates on its heap, for a call of GetManagedObjects with 1,000 devices on the bus. Beside it, a Go program that has the same
objects with the same properties, and for each call makes the maps of variants and returns them through godbus's Conn.Export.`

func managed(ctx context.Context, w *world, r *result) error {
	g := r.group("")
	for range w.rounds {
		if err := w.managedOnce(ctx, g); err != nil {
			return err
		}
	}
	g.ratio("CPU per call, ms", daemon, plain, 0.1)
	g.ratio("allocated per call, KiB", daemon, plain, 0.1)
	return nil
}

func (w *world) managedOnce(ctx context.Context, g *group) error {
	const devices = 1000
	l, err := w.running(ctx, air(1, devices, ""), settings{metrics: true})
	if err != nil {
		return err
	}
	defer l.stop()
	conn, err := dbus.Connect(w.bus.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := l.discover(ctx, conn); err != nil {
		return err
	}
	p, err := spawn(ctx, nil, w.self, "values", w.bus.Address)
	if err != nil {
		return err
	}
	defer p.stop()
	name, err := p.expect(ctx, "READY")
	if err != nil {
		return err
	}
	scrape := func() (float64, error) { return allocated(ctx, l.daemon) }
	ask := func() (float64, error) {
		var n uint64
		err := conn.Object(name, "/").CallWithContext(ctx, "org.freedesktop.DBus.ObjectManager.Allocated", 0).Store(&n)
		return float64(n), err
	}
	if err := w.calls(ctx, g, daemon, l.daemon, conn.Object("org.bluez", "/"), scrape); err != nil {
		return err
	}
	return w.calls(ctx, g, plain, p, conn.Object(name, "/"), ask)
}

// calls measures calls of GetManagedObjects. bytes gives how many bytes the server has allocated so far.
func (w *world) calls(ctx context.Context, g *group, who string, p *process, o dbus.BusObject, bytes func() (float64, error)) error {
	count := w.scale(15)
	call := func(n int) error {
		for range n {
			if err := o.CallWithContext(ctx, managedObjects, 0).Err; err != nil {
				return err
			}
		}
		return nil
	}
	if err := call(2); err != nil {
		return err
	}
	c, err := w.measure(p, func() error { return call(count) })
	if err != nil {
		return err
	}
	g.add(who, "CPU per call, ms", micros(c.process)/1000/float64(count))
	// A call of bytes allocates as well: the first two calls measure that.
	var at [3]float64
	for i := range at {
		if i == 2 {
			if err := call(count); err != nil {
				return err
			}
		}
		at[i], err = bytes()
		if err != nil {
			return err
		}
	}
	asking := at[1] - at[0]
	g.add(who, "allocated per call, KiB", max(0, at[2]-at[1]-asking)/1024/float64(count))
	return nil
}
