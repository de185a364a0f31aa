package main

import (
	"context"
	"fmt"
	"time"

	"bluez-esphome/tests/bench/load"
)

const aboutStream = `What ` + "`stream:`" + ` adds to the daemon: its CPU with the stream to a Mosquitto, less that without, divided by the messages that were published. One proxy hears
500 RuuviTags and sends 5,000 or 20,000 advertisements a second, all of them new, so each is a message. The broker is a process of its own, which has no
subscriber. At the lower rate most of it is that the processor is woken.`

// streamRates are in advertisements a second, of which there are streamTotal.
var streamRates = []int{5000, 20000}

const streamTotal = 120_000

// perMessage is the cost of a published message.
const perMessage = "CPU per published message, µs"

func streamed(ctx context.Context, w *world, r *result) error {
	b, err := w.mosquitto(ctx)
	if err != nil {
		return err
	}
	defer b.stop()
	for _, format := range []string{"json", "undecoded"} {
		for _, rate := range streamRates {
			g := r.group(fmt.Sprintf("%s, %d a second", format, rate))
			for range w.rounds {
				off, _, err := w.streaming(ctx, "", rate)
				if err != nil {
					return err
				}
				on, published, err := w.streaming(ctx, fmt.Sprintf("{url: %q, format: %s}", "mqtt://"+b.address, format), rate)
				if err != nil {
					return err
				}
				if published == 0 {
					return fmt.Errorf("nothing was published")
				}
				w.log("%s, %d a second: %v with the stream, %v without, %.0f messages", format, rate, on.process, off.process, published)
				// What is less than the noise is not taken for nothing.
				g.add("added", perMessage, max(micros(on.process-off.process)/published, 0.001))
				g.add("daemon", "published, thousands a second", published/1000/on.wall.Seconds())
			}
			g.atMost("added", perMessage, " µs", 1.5)
		}
	}
	return nil
}

// settled is longer than the daemon gathers messages: after it, everything that was heard is published.
const settled = 300 * time.Millisecond

// streaming measures a daemon with a stream to that broker, or without a stream.
func (w *world) streaming(ctx context.Context, stream string, rate int) (c cost, published float64, err error) {
	l, err := w.running(ctx, load.Spec{Proxies: 1, Devices: 500, Frame: frame, Mix: load.MixSensors, ChangeEvery: 1}, settings{metrics: true, stream: stream})
	if err != nil {
		return c, 0, err
	}
	defer l.stop()
	if err := l.everybody(ctx, 2); err != nil {
		return c, 0, l.daemon.failed(err)
	}
	time.Sleep(settled)
	count := func() (float64, error) {
		if stream == "" {
			return 0, nil
		}
		return metric(ctx, l.daemon, "bluez_esphome_stream_published_total")
	}
	before, err := count()
	if err != nil {
		return c, 0, err
	}
	c, err = w.measure(l.daemon, func() error {
		_, err := l.send(ctx, w.scale(streamTotal), float64(rate))
		time.Sleep(settled)
		return err
	})
	if err != nil {
		return c, 0, err
	}
	if stream != "" {
		err = allPublished(ctx, l.daemon)
	}
	if err != nil {
		return c, 0, err
	}
	after, err := count()
	return c, after - before, err
}

// allPublished waits until the queue of the stream is empty.
func allPublished(ctx context.Context, p *process) error {
	for {
		left := 0.0
		for name, sign := range map[string]float64{"offered": 1, "published": -1, "dropped": -1, "refused": -1} {
			v, err := metric(ctx, p, "bluez_esphome_stream_"+name+"_total")
			if err != nil {
				return err
			}
			left += sign * v
		}
		if left == 0 {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%.0f messages are still to be published: %w", left, ctx.Err())
		}
	}
}
