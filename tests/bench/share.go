package main

import (
	"context"
	"net"
	"strconv"

	"bluez-esphome/tests/bench/load"
)

const aboutShare = `What sharing a proxy adds to the way of a message: from before the proxy writes 16 advertisements until a subscriber has decoded them, once through the daemon, that
offers the proxy on, and once from the proxy itself. The difference is two reads, two wake-ups and a write, and what the daemon does in between. 100 messages a second, plain.`

func share(ctx context.Context, w *world, r *result) error {
	g := r.group("")
	for range w.rounds {
		straight, err := w.latency(ctx, false)
		if err != nil {
			return err
		}
		shared, err := w.latency(ctx, true)
		if err != nil {
			return err
		}
		const p50, p99 = "time, p50, µs", "time, p99, µs"
		g.add("from the proxy", p50, straight.P50*1e6)
		g.add("from the proxy", p99, straight.P99*1e6)
		g.add("shared", p50, shared.P50*1e6)
		g.add("shared", p99, shared.P99*1e6)
		g.add("added", p50, (shared.P50-straight.P50)*1e6)
		g.add("added", p99, (shared.P99-straight.P99)*1e6)
	}
	return nil
}

func (w *world) latency(ctx context.Context, shared bool) (a load.Answer, err error) {
	spec := load.Spec{Proxies: 1, Devices: frame, Frame: frame, Mix: load.MixSensors, ChangeEvery: 1}
	command := load.Command{Do: "latency", Count: w.scale(200), Rate: 100 * frame}
	if !shared {
		l, err := w.load(ctx, spec)
		if err != nil {
			return a, err
		}
		defer l.stop()
		return l.do(ctx, command)
	}
	command.Address, err = freePort(ctx)
	if err != nil {
		return a, err
	}
	_, port, err := net.SplitHostPort(command.Address)
	if err != nil {
		return a, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return a, err
	}
	l, err := w.running(ctx, spec, settings{share: number})
	if err != nil {
		return a, err
	}
	defer l.stop()
	a, err = l.do(ctx, command)
	if err != nil {
		return a, l.daemon.failed(err)
	}
	return a, nil
}
