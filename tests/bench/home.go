package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"bluez-esphome/tests/bench/load"
)

const aboutHome = `Each proxy sends ten advertisements every 100 ms and hears every device once a second; one device in ten has a new payload every 2 s,
and signal strengths vary by 4 dB (standard deviation). The clients are bleak programs, each a process of its own, that discover without a filter. The reference serves one process
and tells it of each advertisement; nobody is asked by D-Bus.`

const ofACore = "CPU, % of a core"

// homeRate is in advertisements per second.
const homeRate = 800

func home(ctx context.Context, w *world, r *result) error {
	g := r.group("")
	for range w.rounds {
		for _, who := range []string{reference, daemon, bare} {
			if err := w.home(ctx, g, who); err != nil {
				return err
			}
		}
	}
	g.ratio(ofACore, discovering(0), reference, 0.4)
	g.ratio(ofACore, discovering(1), reference, 0.7)
	g.ratio(ofACore, discovering(4), discovering(1), 1.3)
	return nil
}

// discovering names the daemon with that number of clients.
func discovering(clients int) string { return fmt.Sprintf("%s, %d discovering", daemon, clients) }

func (w *world) home(ctx context.Context, g *group, who string) error {
	l, err := w.load(ctx, load.Spec{Proxies: 8, Devices: 100, PSK: psk, Frame: 10, Mix: load.MixHome, ChangeEvery: 2})
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
		_, err := w.atHome(ctx, g, who, p, l)
		return err
	}
	var clients []*process
	for _, count := range []int{0, 1, 4} {
		for len(clients) < count {
			c, err := w.discover(ctx)
			if err != nil {
				return err
			}
			defer c.stop()
			clients = append(clients, c)
		}
		// The start of discovery has costs of its own, which are not measured.
		if _, err := l.send(ctx, w.scale(2*homeRate), homeRate); err != nil {
			return p.failed(err)
		}
		before, err := told(ctx, clients)
		if err != nil {
			return err
		}
		c, err := w.atHome(ctx, g, discovering(count), p, l)
		if err != nil {
			return err
		}
		g.add(discovering(count), "CPU of dbus-daemon, % of a core", 100*c.bus.Seconds()/c.wall.Seconds())
		if count > 0 {
			after, err := told(ctx, clients)
			if err != nil {
				return err
			}
			g.add(discovering(count), "a client is told, times a second", float64(after-before)/float64(count)/c.wall.Seconds())
		}
	}
	return nil
}

// atHome measures a process that reads the advertisements of a home.
func (w *world) atHome(ctx context.Context, g *group, who string, p *process, l *proxies) (cost, error) {
	if _, err := l.send(ctx, w.scale(homeRate), homeRate); err != nil {
		return cost{}, p.failed(err)
	}
	c, err := w.measure(p, func() error {
		_, err := l.send(ctx, w.scale(7*homeRate), homeRate)
		return err
	})
	if err == nil {
		g.add(who, ofACore, 100*c.process.Seconds()/c.wall.Seconds())
	}
	return c, err
}

// told asks the clients how many advertisements they have received so far, and gives the sum.
func told(ctx context.Context, clients []*process) (sum int, err error) {
	for _, c := range clients {
		if err := c.say("?"); err != nil {
			return 0, err
		}
		text, err := c.expect(ctx, "HEARD")
		if err != nil {
			return 0, err
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
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
