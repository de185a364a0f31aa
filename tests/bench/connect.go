package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"bluez-esphome/tests/bench/load"

	"github.com/godbus/dbus/v5"
)

const aboutConnect = `From the call of Connect to the end of the list of services, on an encrypted proxy that has the link after 10 ms and answers all else at once, and a device
with two characteristics and no Database Hash. For the program that is a call over the bus until ServicesResolved is signalled; the reference connects by its own calls, without
D-Bus. First time: nothing is known of the device, whatever was known was dropped before. Again: right after that. The reference then takes the services that it
knows; the program lists them anew, since nothing says that the device still has them. Both have had nothing to do for 200 ms before: a processor that sleeps takes its time to wake.`

// connects are so many that the 99th percentile is not the slowest.
const connects = 150

// connectKinds are the two kinds of connections, and the most that each may take as a multiple of the reference.
var connectKinds = []struct {
	name  string
	limit float64
}{{"first time", 2}, {"again", 1.3}}

func connect(ctx context.Context, w *world, r *result) error {
	for range w.rounds {
		if err := w.connectReference(ctx, r); err != nil {
			return err
		}
		if err := w.connectDaemon(ctx, r); err != nil {
			return err
		}
	}
	for _, k := range connectKinds {
		g := r.group(k.name)
		g.ratio("p50, ms", daemon, reference, k.limit)
		g.ratio("p99, ms", daemon, reference, k.limit)
	}
	return nil
}

func (w *world) connectReference(ctx context.Context, r *result) error {
	l, p, err := w.connectedReference(ctx)
	if err != nil {
		return err
	}
	defer l.stop()
	defer p.stop()
	for _, k := range connectKinds {
		var took []float64
		for range w.scale(connects) {
			if err := l.everybody(ctx, 1); err != nil {
				return err
			}
			if err := p.say("again " + strings.Fields(k.name)[0]); err != nil {
				return err
			}
			s, err := p.expect(ctx, "AGAIN")
			if err != nil {
				return err
			}
			seconds, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return err
			}
			took = append(took, seconds*1e3)
		}
		percentiles(r.group(k.name), reference, took)
	}
	return nil
}

func (w *world) connectDaemon(ctx context.Context, r *result) error {
	l, err := w.connected(ctx)
	if err != nil {
		return err
	}
	defer l.stop()
	defer l.conn.Close()
	path := devPath(load.Address)
	signals := make(chan *dbus.Signal, 4096)
	l.conn.Signal(signals)
	for _, k := range connectKinds {
		var took []float64
		for range w.scale(connects) {
			if err := bluez(ctx, l.conn.Conn, path, deviceIface+".Disconnect").Err; err != nil {
				return fmt.Errorf("cannot disconnect: %w", err)
			}
			if k.name == "first time" {
				if err := bluez(ctx, l.conn.Conn, path, "org.bluez_esphome.Device1.ClearCache").Err; err != nil {
					return fmt.Errorf("cannot clear the cache: %w", err)
				}
			}
			if err := l.everybody(ctx, 1); err != nil {
				return err
			}
			if err := l.conn.quiet(ctx); err != nil {
				return err
			}
			for len(signals) > 0 {
				<-signals
			}
			start := time.Now()
			if err := bluez(ctx, l.conn.Conn, path, deviceIface+".Connect").Err; err != nil {
				return l.daemon.failed(fmt.Errorf("cannot connect: %w", err))
			}
			if err := resolved(ctx, signals, path); err != nil {
				return l.daemon.failed(err)
			}
			took = append(took, float64(time.Since(start))/float64(time.Millisecond))
		}
		percentiles(r.group(k.name), daemon, took)
	}
	return nil
}

// resolved waits for the signal that says that the services are resolved.
func resolved(ctx context.Context, signals <-chan *dbus.Signal, path dbus.ObjectPath) error {
	t := time.NewTimer(time.Minute)
	defer t.Stop()
	for {
		select {
		case s := <-signals:
			if s.Path != path || len(s.Body) < 2 {
				continue
			}
			if props, ok := s.Body[1].(map[string]dbus.Variant); ok && props["ServicesResolved"].Value() == true {
				return nil
			}
		case <-t.C:
			return fmt.Errorf("the services of %s were not resolved within a minute", path)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// percentiles adds the median and the 99th percentile of the times to g.
func percentiles(g *group, who string, took []float64) {
	slices.Sort(took)
	g.add(who, "p50, ms", median(took))
	g.add(who, "p99, ms", took[min(len(took)-1, int(math.Ceil(0.99*float64(len(took))))-1)])
}
