package main

import (
	"context"
	"fmt"

	"bluez-esphome/tests/bench/load"
)

const (
	aboutFlood = `Every proxy sends as fast as it is read, 16 advertisements to a message; all proxies hear the same devices, each with a signal strength of its own that
changes every time, and one device in ten has a new payload every time. CPU of the process for all advertisements, divided by their number.`
	aboutPaced = `The same from one proxy with 500 devices, at 750 messages a second: here each message is a wake-up of its own.`
)

// perAdvert is a quantity of several rows.
const perAdvert = "CPU per advertisement, µs"

// frame is the largest number of advertisements that the firmware puts into a message.
const frame = 16

func air(proxies, devices int, key string) load.Spec {
	return load.Spec{Proxies: proxies, Devices: devices, PSK: key, Frame: frame, Mix: load.MixHome, ChangeEvery: 1}
}

// taken is the rate at which advertisements were read: in a flood, as fast as reader and sender together could.
const taken = "taken, thousands a second"

// adverts sends count advertisements to one of the three programs, and adds the cost of each to g.
func (w *world) adverts(ctx context.Context, g *group, name, who string, s load.Spec, count int, rate float64) error {
	l, err := w.load(ctx, s)
	if err != nil {
		return err
	}
	defer l.stop()
	p, err := w.start(ctx, who, l)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := l.everybody(ctx, 2); err != nil {
		return p.failed(err)
	}
	var sent load.Answer
	c, err := w.measure(p, func() (err error) {
		sent, err = l.send(ctx, count, rate)
		return err
	})
	if err != nil {
		return err
	}
	w.log("%s: %d advertisements in %.2f s", who, sent.Count, sent.Seconds)
	if sent.Behind > 0.1 {
		w.log("%s: the load was %.2f s late at the end", who, sent.Behind)
	}
	g.add(name, perAdvert, micros(c.process)/float64(sent.Count))
	g.add(name, taken, float64(sent.Count)/1000/sent.Seconds)
	return nil
}

// keys are the keys of an encrypted proxy and of one in plaintext.
func (w *world) keys() []string {
	if w.quick {
		return []string{psk}
	}
	return []string{"", psk}
}

// encrypted says in a word whether a proxy with this key is encrypted.
func encrypted(key string) string {
	if key == "" {
		return "plain"
	}
	return "encrypted"
}

func flood(ctx context.Context, w *world, r *result) error {
	for _, n := range []struct{ proxies, devices int }{{1, 500}, {8, 2000}} {
		for _, key := range w.keys() {
			g := r.group(fmt.Sprintf("%d × %d devices, %s", n.proxies, n.devices, encrypted(key)))
			if err := w.three(ctx, g, air(n.proxies, n.devices, key), w.scale(600_000), 0); err != nil {
				return err
			}
			g.ratio(perAdvert, daemon, reference, 0.10)
		}
	}
	return nil
}

// three measures the three programs, one after the other in each round.
func (w *world) three(ctx context.Context, g *group, s load.Spec, count int, rate float64) error {
	for range w.rounds {
		for _, who := range []string{reference, daemon, bare} {
			if err := w.adverts(ctx, g, who, who, s, count, rate); err != nil {
				return fmt.Errorf("%s: %w", g.Name, err)
			}
		}
	}
	return nil
}

func paced(ctx context.Context, w *world, r *result) error {
	const rate = 12_000
	for _, key := range w.keys() {
		g := r.group(encrypted(key))
		if err := w.three(ctx, g, air(1, 500, key), w.scale(4*rate), rate); err != nil {
			return err
		}
		g.ratio(perAdvert, daemon, reference, 0.65)
		g.ratio(perAdvert, daemon, bare, 1.25)
	}
	return nil
}

const aboutGrowth = `The flood once more, the daemon alone, plain: how the cost of an advertisement grows with the number of devices (from one proxy), and with the number of proxies (which all
hear the same 500 devices).`

func growth(ctx context.Context, w *world, r *result) error {
	g := r.group("")
	cases := []struct {
		name             string
		proxies, devices int
	}{{"50 devices", 1, 50}, {"5,000 devices", 1, 5000}, {"1 proxy", 1, 500}, {"100 proxies", 100, 500}}
	for range w.rounds {
		for _, c := range cases {
			if w.quick {
				c.proxies = min(c.proxies, 10)
			}
			if err := w.adverts(ctx, g, c.name, daemon, air(c.proxies, c.devices, ""), w.scale(1_000_000), 0); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	g.ratio(perAdvert, "5,000 devices", "50 devices", 1.5)
	g.ratio(perAdvert, "100 proxies", "1 proxy", 1.5)
	return nil
}
