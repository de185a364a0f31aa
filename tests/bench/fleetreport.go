package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"bluez-esphome/tests/harness"
)

// lateAfter is how many seconds late the load may be at the end of a measurement. Beyond that, the report says that the
// machine did not keep up.
const lateAfter = 0.5

// fleetReport makes docs/evidence/fleet.md.
func fleetReport(o *fleetOptions, version, second string, rows []fleetRow) (string, error) {
	var b strings.Builder
	system, err := kernel()
	if err != nil {
		return "", err
	}
	load, err := loadAverage()
	if err != nil {
		return "", err
	}
	most := o.daemons[len(o.daemons)-1]
	fmt.Fprintf(&b, `# Growth of a fleet

How daemons grow that stream to one broker ([fleet.md](../fleet.md)): %s, each of %d simulated proxies and %d RuuviTags, of which %d proxies
hear each; %d devices in all at %d daemons. What a device says is new each time: that is one message, and copies of it by the other proxies are none. A program
reads everything. All run on one machine, with %d cores (%s), which the simulated proxies share: where it is full, all of them together are. Its load average was %s at the end.
Broker: %s.

    make bench-fleet                                                   # all, and write this file
    make bench-fleet BENCHFLAGS="-daemons 1,2 -proxies 5 -devices 200 -rates 500"   # less

CPU is user and system time for 1,000 advertisements a second, in %% of a core; that of the daemons is the sum over all of them. Memory is what is in RAM.

| daemons | advertisements a second | published a second | read a second | dropped | CPU of the daemons for 1,000/s | CPU of the broker for 1,000/s | memory of a daemon, MiB | of the broker, MiB | |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
`, plural(o.daemons), o.proxies, max(o.devices/most, 1), o.hearing, o.devices, most, runtime.NumCPU(), system, load, version)
	for i := range rows {
		r := &rows[i]
		note := ""
		if r.behind > lateAfter {
			note = fmt.Sprintf("full: the load is %.1f s late", r.behind)
		}
		thousands := r.adverts / 1000
		percent := func(d time.Duration) string {
			return digits(100*d.Seconds()/thousands) + " %"
		}
		fmt.Fprintf(&b, "| %d | %.0f | %.0f | %.0f | %.0f | %s | %s | %s | %s | %s |\n", r.daemons, r.adverts/r.seconds, r.published/r.seconds, r.received/r.seconds, r.dropped,
			percent(r.daemonCPU), percent(r.brokerCPU), digits(r.daemonMiB/float64(r.daemons)), digits(r.brokerMiB), note)
	}
	fmt.Fprintf(&b, "\nAs a second broker: %s.\n\nMade by `%s`.\n", second, o.command)
	return b.String(), nil
}

func plural(list []int) string {
	text := strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]")
	if text == "1" {
		return "one daemon"
	}
	return text + " daemons"
}

// nats says whether a daemon can stream to the MQTT interface of NATS, which speaks only MQTT 3.1.1.
func (w *world) nats(ctx context.Context) (string, error) {
	bin, ok := harness.Server("nats-server")
	if !ok {
		return "there was no nats-server on the machine", nil
	}
	version, err := exec.CommandContext(ctx, bin, "--version").Output()
	if err != nil {
		return "", err
	}
	client, err := freePort(ctx)
	if err != nil {
		return "", err
	}
	b, err := w.server(ctx, fmt.Sprintf("listen: %s\nserver_name: bench\njetstream { store_dir: %q }\nmqtt { host: 127.0.0.1, port: %%s }\n", client, w.dir+"/nats"), bin, "-c")
	if err != nil {
		return "", err
	}
	defer b.stop()
	d, err := w.daemon(ctx, &proxies{}, settings{metrics: true, bus: "none", stream: fmt.Sprintf("{url: %q}", "mqtt://"+b.address)})
	if err != nil {
		return "", err
	}
	defer d.stop()
	said := strings.TrimSpace(string(version)) + ", through its MQTT interface: "
	for range 100 {
		sessions, err := metric(ctx, d, "bluez_esphome_stream_sessions_total")
		if err == nil && sessions > 0 {
			return said + "it takes the session", nil
		}
		for line := range strings.Lines(d.err.String()) {
			if _, why, ok := strings.Cut(line, `error="`); ok {
				why, _, _ = strings.Cut(why, `"`)
				return said + "the daemon gets no session (" + why + ")", nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return said + "nothing came of it", nil
}
