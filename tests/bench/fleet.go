package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"bluez-esphome/tests/bench/load"

	"golang.org/x/sync/errgroup"
)

// fleetOptions are the options of make bench-fleet.
type fleetOptions struct {
	bin, out                      string
	daemons, rates                []int
	proxies, devices, hearing     int
	seconds                       int
	daemonList, rateList, command string
}

func (o *fleetOptions) parse(args []string) (err error) {
	f := flag.NewFlagSet("bench fleet", flag.ContinueOnError)
	f.StringVar(&o.bin, "bin", "bin/bluez-esphome", "the program")
	f.StringVar(&o.out, "o", "", "write the report to this file, too")
	f.StringVar(&o.daemonList, "daemons", "1,2,5,10", "numbers of daemons, with commas between them")
	f.StringVar(&o.rateList, "rates", "10000,40000,160000,320000", "advertisements a second that all proxies together send, with commas between them")
	f.IntVar(&o.proxies, "proxies", 100, "proxies of each daemon")
	f.IntVar(&o.devices, "devices", 20_000, "devices of all daemons together, at the largest number of them")
	f.IntVar(&o.hearing, "hearing", 5, "proxies that hear a device")
	f.IntVar(&o.seconds, "seconds", 8, "how long each rate is measured, about")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.daemons, err = numbers(o.daemonList); err != nil {
		return err
	}
	if o.rates, err = numbers(o.rateList); err != nil {
		return err
	}
	if f.NArg() > 0 || min(o.proxies, o.devices, o.hearing, o.seconds) < 1 {
		return errors.New("usage: bench fleet [flags], no arguments, all numbers from 1 on")
	}
	f.Visit(func(f *flag.Flag) {
		if f.Name != "bin" && f.Name != "o" {
			o.command += fmt.Sprintf(" -%s %s", f.Name, f.Value)
		}
	})
	o.bin, err = filepath.Abs(o.bin)
	return err
}

func numbers(list string) (out []int, err error) {
	for _, s := range strings.Split(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no list of numbers from 1 on", list)
		}
		out = append(out, n)
	}
	return out, nil
}

// fleetRow is one measurement: the sums over all daemons.
type fleetRow struct {
	daemons, rate                 int
	adverts, published, received  float64 // a second
	dropped                       float64
	daemonCPU, brokerCPU          time.Duration
	daemonMiB, brokerMiB, seconds float64
	behind                        float64 // s
}

// runFleet measures a growing number of daemons that stream to one broker, and writes docs/evidence/fleet.md.
func runFleet(ctx context.Context, args []string) error {
	o := fleetOptions{command: "bench fleet"}
	if err := o.parse(args); err != nil {
		return err
	}
	w, err := newWorld(ctx, options{bin: o.bin, verbose: true})
	if err != nil {
		return err
	}
	defer w.close()
	b, err := w.mosquitto(ctx)
	if err != nil {
		return err
	}
	defer b.stop()
	second, err := w.nats(ctx)
	if err != nil {
		return err
	}
	var rows []fleetRow
	for _, n := range o.daemons {
		some, err := w.fleetOf(ctx, &o, b, n)
		rows = append(rows, some...)
		if err != nil {
			return err
		}
	}
	text, err := fleetReport(&o, b.version, second, rows)
	if err != nil {
		return err
	}
	fmt.Print(text)
	if o.out == "" {
		return nil
	}
	return os.WriteFile(o.out, []byte(text), 0o644)
}

// building is one daemon with its proxies.
type building struct {
	load   *proxies
	daemon *process
}

// fleetOf measures n daemons at all rates.
func (w *world) fleetOf(ctx context.Context, o *fleetOptions, b *broker, n int) (rows []fleetRow, err error) {
	reader, err := spawn(ctx, nil, w.self, "reader", b.address)
	if err != nil {
		return nil, err
	}
	defer reader.stop()
	if _, err := reader.expect(ctx, "READS"); err != nil {
		return nil, err
	}
	devices := max(o.devices/o.daemons[len(o.daemons)-1], 1)
	spec := load.Spec{Proxies: o.proxies, Devices: devices, Hears: max(1, devices*o.hearing/o.proxies), Frame: fleetFrame, Mix: load.MixSensors, ChangeEvery: 1}
	var all []building
	defer func() {
		for _, x := range all {
			x.daemon.stop()
			x.load.stop()
		}
	}()
	for i := range n {
		spec.First = i * devices
		l, err := w.load(ctx, spec)
		if err != nil {
			return nil, err
		}
		d, err := w.daemon(ctx, l, settings{metrics: true, bus: "none", stream: fmt.Sprintf("{url: %q, site: building-%d}", "mqtt://"+b.address, i+1)})
		if err != nil {
			l.stop()
			return nil, err
		}
		all = append(all, building{l, d})
		if err := l.subscribed(ctx); err != nil {
			return nil, d.failed(err)
		}
	}
	for _, rate := range o.rates {
		r, err := w.fleetAt(ctx, o, b, reader, all, rate)
		if err != nil {
			return rows, err
		}
		w.log("%+v", r)
		rows = append(rows, r)
	}
	return rows, nil
}

// counted is sums over all daemons.
type counted struct {
	published, dropped, received float64
}

func countAll(ctx context.Context, reader *process, all []building) (c counted, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for _, x := range all {
		if err := allPublished(ctx, x.daemon); err != nil {
			return c, err
		}
		for name, sum := range map[string]*float64{"published": &c.published, "dropped": &c.dropped} {
			v, err := metric(ctx, x.daemon, "bluez_esphome_stream_"+name+"_total")
			if err != nil {
				return c, err
			}
			*sum += v
		}
	}
	if err := reader.say("?"); err != nil {
		return c, err
	}
	text, err := reader.expect(ctx, "COUNT")
	if err != nil {
		return c, err
	}
	c.received, err = strconv.ParseFloat(text, 64)
	return c, err
}

// fleetFrame is the number of advertisements in a message of a proxy.
const fleetFrame = 10

// pass is the number of advertisements in which each proxy of a daemon reports each device that it hears once.
// Measurements take whole passes: the payloads change at the beginning of a pass.
func pass(s *load.Spec) int { return (s.Hears + fleetFrame - 1) / fleetFrame * fleetFrame * s.Proxies }

// fleetAt measures all daemons at one rate.
func (w *world) fleetAt(ctx context.Context, o *fleetOptions, b *broker, reader *process, all []building, rate int) (r fleetRow, err error) {
	r = fleetRow{daemons: len(all), rate: rate}
	each := float64(rate) / float64(len(all))
	one := pass(&all[0].load.spec)
	send := func(passes int) error {
		g, ctx := errgroup.WithContext(ctx)
		behind := make([]float64, len(all))
		sent := make([]float64, len(all))
		for i, x := range all {
			g.Go(func() error {
				a, err := x.load.send(ctx, passes*one, each)
				behind[i], sent[i] = a.Behind, float64(a.Count)
				return err
			})
		}
		err := g.Wait()
		r.adverts, r.behind = 0, 0
		for i := range all {
			r.adverts += sent[i]
			r.behind = max(r.behind, behind[i])
		}
		return err
	}
	if err := send(1); err != nil { // a pass before the measurement: a change of the rate has costs of its own
		return r, err
	}
	time.Sleep(settled)
	before, err := countAll(ctx, reader, all)
	if err != nil {
		return r, err
	}
	daemons, err := cpuOf(all)
	if err != nil {
		return r, err
	}
	broker, err := cpu(b.pid())
	if err != nil {
		return r, err
	}
	start := time.Now()
	if err := send(max(1, int(each)*o.seconds/one)); err != nil {
		return r, err
	}
	r.seconds = time.Since(start).Seconds()
	time.Sleep(settled)
	daemonsAfter, err := cpuOf(all)
	if err != nil {
		return r, err
	}
	brokerAfter, err := cpu(b.pid())
	if err != nil {
		return r, err
	}
	after, err := countAll(ctx, reader, all)
	if err != nil {
		return r, err
	}
	r.daemonCPU, r.brokerCPU = daemonsAfter-daemons, brokerAfter-broker
	r.published, r.dropped, r.received = after.published-before.published, after.dropped-before.dropped, after.received-before.received
	for _, x := range all {
		mib, err := rss(x.daemon.pid())
		if err != nil {
			return r, err
		}
		r.daemonMiB += mib
	}
	r.brokerMiB, err = rss(b.pid())
	return r, err
}

func cpuOf(all []building) (sum time.Duration, err error) {
	for _, x := range all {
		c, err := cpu(x.daemon.pid())
		if err != nil {
			return 0, err
		}
		sum += c
	}
	return sum, nil
}
