package main

import (
	"context"
	"time"
)

const aboutMemory = `Memory of the process that is in RAM (VmRSS). Idle is a proxy that is silent; otherwise every device was heard several times by every proxy, with an encrypted session each, and
nobody discovers.`

const inRAM = "RSS, MiB"

func memory(ctx context.Context, w *world, r *result) error {
	cases := []struct {
		name             string
		proxies, devices int
		passes           int
		who              []string
		limit            float64
	}{
		{"1 proxy, idle", 1, 100, 0, []string{reference, daemon, bare}, 15},
		{"8 proxies, the same 2,000 devices", 8, 2000, 10, []string{reference, daemon, bare}, 25},
		{"200 proxies, the same 5,000 devices", 200, 5000, 3, []string{daemon}, 96},
	}
	for _, c := range cases {
		g := r.group(c.name)
		for range w.rounds {
			for _, who := range c.who {
				v, err := w.memory(ctx, who, c.proxies, c.devices, c.passes)
				if err != nil {
					return err
				}
				g.add(who, inRAM, v)
			}
		}
		g.atMost(daemon, inRAM, " MiB", c.limit)
	}
	return nil
}

func (w *world) memory(ctx context.Context, who string, proxies, devices, passes int) (float64, error) {
	if w.quick {
		proxies, devices = min(proxies, 8), min(devices, 200)
	}
	l, err := w.load(ctx, air(proxies, devices, psk))
	if err != nil {
		return 0, err
	}
	defer l.stop()
	p, err := w.start(ctx, who, l)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	if passes > 0 {
		if err := l.everybody(ctx, passes); err != nil {
			return 0, p.failed(err)
		}
	}
	settle := 2 * time.Second
	if w.quick {
		settle /= 10
	}
	if err := pause(ctx, settle); err != nil {
		return 0, err
	}
	return rss(p.pid())
}
