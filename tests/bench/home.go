package main

import (
	"context"
	"fmt"
	"path/filepath"

	"bluez-esphome/tests/bench/load"
)

const aboutHome = `Each proxy sends ten advertisements every 100 ms and hears every device once a second; one device in ten has a new payload every 5 s. The
clients are bleak programs, each a process of its own, that discover without a filter. The reference serves one process
and tells it of each advertisement; nobody is asked by D-Bus.`

const ofACore = "CPU, % of a core"

func home(ctx context.Context, w *world, r *result) error {
	const rate = 800
	spec := load.Spec{Proxies: 8, Devices: 100, PSK: psk, Frame: 10, Mix: load.MixHome, ChangeEvery: 5}
	g := r.group("")
	measure := func(p *process, l *proxies, who string) error {
		// What discovering begins with is over after a while.
		if _, err := l.send(ctx, w.scale(2*rate), rate); err != nil {
			return p.failed(err)
		}
		c, err := w.measure(p, func() error {
			_, err := l.send(ctx, w.scale(7*rate), rate)
			return err
		})
		if err != nil {
			return err
		}
		g.add(who, ofACore, 100*c.process.Seconds()/c.wall.Seconds())
		if p.name != filepath.Base(w.bin) {
			return nil
		}
		g.add(who, "CPU of dbus-daemon, % of a core", 100*c.bus.Seconds()/c.wall.Seconds())
		return nil
	}
	one := func(who string) error {
		l, err := w.load(ctx, spec)
		if err != nil {
			return err
		}
		defer l.stop()
		p, err := w.start(ctx, who, l)
		if err != nil {
			return err
		}
		defer p.stop()
		if who != daemon {
			return measure(p, l, who)
		}
		running := 0
		for _, clients := range []int{0, 1, 4} {
			for ; running < clients; running++ {
				c, err := w.discover(ctx)
				if err != nil {
					return err
				}
				defer c.stop()
			}
			if err := measure(p, l, fmt.Sprintf("%s, %d discovering", who, clients)); err != nil {
				return err
			}
		}
		return nil
	}
	for range w.rounds {
		for _, who := range []string{reference, daemon, bare} {
			if err := one(who); err != nil {
				return err
			}
		}
	}
	g.ratio(ofACore, daemon+", 0 discovering", reference, 0.4)
	g.ratio(ofACore, daemon+", 1 discovering", reference, 0.7)
	g.ratio(ofACore, daemon+", 4 discovering", daemon+", 1 discovering", 1.3)
	return nil
}

// discover starts a bleak program that discovers.
func (w *world) discover(ctx context.Context) (*process, error) {
	c, err := spawn(ctx, w.env(), w.python, filepath.Join(w.root, "tests/bench/py/discover.py"))
	if err != nil {
		return nil, err
	}
	if _, err := c.expect(ctx, "READY"); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}
