package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
)

const aboutBegin = `From the start of the process until the first device is there: on the bus as an InterfacesAdded, with a client that discovers as soon as org.bluez is owned; for
the reference, until the first advertisement reaches its consumer. One encrypted proxy. CPU of the process.`

func begin(ctx context.Context, w *world, r *result) error {
	g := r.group("")
	for range w.rounds {
		for _, who := range []string{reference, daemon} {
			used, wall, err := w.beginOnce(ctx, who)
			if err != nil {
				return err
			}
			g.add(who, "CPU, s", used.Seconds())
			g.add(who, "time, s", wall.Seconds())
		}
	}
	g.atMost(daemon, "CPU, s", " s", 0.05)
	return nil
}

// beginOnce gives the CPU time and the wall-clock time that the process needed until then.
func (w *world) beginOnce(ctx context.Context, who string) (used, wall time.Duration, err error) {
	l, err := w.load(ctx, air(1, 100, psk))
	if err != nil {
		return 0, 0, err
	}
	defer l.stop()
	first := w.firstAdvert
	if who == daemon {
		first = w.firstDevice
	}
	return first(ctx, l)
}

func (w *world) firstAdvert(ctx context.Context, l *proxies) (used, wall time.Duration, err error) {
	start := time.Now()
	p, err := w.startReference(ctx, l, true)
	if err != nil {
		return 0, 0, err
	}
	defer p.stop()
	if err := l.subscribed(ctx); err != nil {
		return 0, 0, p.failed(err)
	}
	if err := l.everybody(ctx, 1); err != nil {
		return 0, 0, p.failed(err)
	}
	text, err := p.expect(ctx, "FIRST")
	if err != nil {
		return 0, 0, err
	}
	wall = time.Since(start)
	s, err := strconv.ParseFloat(text, 64)
	return time.Duration(s * float64(time.Second)), wall, err
}

func (w *world) firstDevice(ctx context.Context, l *proxies) (used, wall time.Duration, err error) {
	c, err := dbus.Connect(w.bus.Address)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	signals := make(chan *dbus.Signal, 256) // more than arrive before the first device
	c.Signal(signals)
	for _, m := range [][]dbus.MatchOption{
		{dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, "org.bluez")},
		{dbus.WithMatchMember("InterfacesAdded")},
	} {
		if err := c.AddMatchSignal(m...); err != nil {
			return 0, 0, err
		}
	}
	start := time.Now()
	p, err := w.begin(ctx, daemon, l)
	if err != nil {
		return 0, 0, err
	}
	defer p.stop()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	sent := make(chan error, 1)
	for {
		var s *dbus.Signal
		select {
		case s = <-signals:
		case err := <-sent:
			if err != nil {
				return 0, 0, p.failed(err)
			}
			continue
		case <-limit.C:
			return 0, 0, p.failed(errors.New("no device came within a minute"))
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
		switch {
		case s.Name == "org.freedesktop.DBus.NameOwnerChanged" && len(s.Body) == 3 && s.Body[2] != "":
			if err := startDiscovery(ctx, c); err != nil {
				return 0, 0, fmt.Errorf("cannot discover: %w", err)
			}
			go func() {
				err := l.subscribed(ctx)
				if err == nil {
					err = l.everybody(ctx, 1)
				}
				sent <- err
			}()
		case s.Name == added && isDevice(s):
			wall = time.Since(start)
			used, err = cpu(p.pid())
			return used, wall, err
		}
	}
}

func isDevice(s *dbus.Signal) bool {
	if len(s.Body) != 2 {
		return false
	}
	ifaces, _ := s.Body[1].(map[string]map[string]dbus.Variant)
	_, ok := ifaces[deviceIface]
	return ok
}
