package connections

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

var update = flag.Bool("update", false, "write docs/evidence/connections.md")

const table = "../../docs/evidence/connections.md"

const heading = `# Connections, measured

This table is made by "go test ./tests/connections -run Table -update" and compared by every run of the tests. Four
simulated proxies with three connection slots each listen on TCP; the devices are connected to by Device1.Connect, all at
once unless a proxy fails on the way. A connection counts as a success if within 20 s of the call the services are
resolved, complete, and a value can be read. Success has to be complete wherever any proxy can reach the device and
has a slot. The times are of one run; they differ from run to run, and a real radio adds its own.
`

const footing = `
What makes the difference: a slot is reserved before a proxy is dialled; when an attempt fails, or takes longer than
"connect.per_path" while another path is free, the next best proxy is tried within the same call; a proxy that makes a
connection already is passed over after 2 s if another is idle; a list of services that looks cut short is asked for again.
`

// promised is the longest time that a Connect call may take, and everything until the services are resolved. It is
// checked when the table is written. A test run waits longer, since it may share the machine, and checks only that
// everything succeeds.
const promised = 20 * time.Second

// patiently gives a configuration with long time-outs, so that a slow machine makes nothing fail.
func patiently(config string) string {
	if *update {
		return config
	}
	const connect = "connect: {timeout: 4m, slot_wait: 4m}\n"
	if rest, ok := strings.CutPrefix(config, "connect: {slot_wait: 18s}"); ok {
		return connect + rest
	}
	return connect + config
}

// A row is one situation in which devices are connected to, all at once.
type row struct {
	name    string
	note    string
	devices int
	proxies []proxysim.ProxyConfig // if empty, those of compass
	config  string
	spec    func(d *proxysim.DeviceSpec)
	// before puts the world into the situation; during is called while device i is being connected to.
	before func(w *world, devices []proxysim.DeviceSpec)
	during func(w *world, d proxysim.DeviceSpec, connected <-chan struct{})
	// first is called with each device right before it is connected to.
	first func(w *world, d proxysim.DeviceSpec)
	// leave disconnects each device as soon as it was read.
	leave bool
	// each device has another best proxy. The devices are connected to one after another instead of all at once.
	serial bool
	// nightly rows are left out by make test: they wait for half a minute, or keep the machine busy.
	nightly bool
}

// result is the result of a row.
type result struct {
	row      row
	took     []time.Duration
	failures []string
}

// rows are the lines of the table.
func rows() []row {
	return []row{
		{name: "all fine", note: "12 slots, 12 devices at once", devices: 12},
		{name: "the best proxy refuses", note: "every attempt fails to establish (0x3e)", devices: 9,
			spec: func(d *proxysim.DeviceSpec) { d.ConnectError = map[string]int32{"north": 0x3e} }},
		{name: "the best proxy has no free slot", note: "three other devices hold them", devices: 9, before: fillNorth,
			config: pinned(3)},
		{name: "the best proxy restarts mid-connect", note: "its connection ends", devices: 3, serial: true,
			before: silence, first: (*world).hearLast, during: midConnect(restart)},
		{name: "the best proxy loses power mid-connect", note: "nobody is told; `per_path` of 8 s runs out", devices: 2, serial: true, nightly: true,
			before: silence, first: (*world).hearLast, during: midConnect(powerOff)},
		{name: "the best proxy has just lost power", note: "nobody knows: it reports no slot for the attempt", devices: 3,
			before: func(w *world, _ []proxysim.DeviceSpec) { w.sim.Proxy("north").PowerOff() }},
		{name: "the best proxy restarts mid-discovery", note: "the link is up, the services are on their way", devices: 3, serial: true,
			spec: manyServices, first: holdServices, during: midDiscovery(restart)},
		{name: "the best proxy loses power mid-discovery", note: "nobody is told", devices: 2, serial: true, nightly: true,
			spec: manyServices, first: holdServices, during: midDiscovery(powerOff)},
		{name: "the device leaves the best proxy's reach", note: "that proxy's RSSI is still the best known", devices: 3,
			before: func(w *world, devices []proxysim.DeviceSpec) {
				for _, d := range devices {
					if err := w.sim.Air().SetRSSI(d.ID, "north", 0, false); err != nil {
						w.t.Error(err)
					}
				}
			}},
		{name: "the list of services is cut short", note: "ESPHome 2025.11, which says that it is done all the same", devices: 8,
			proxies: versions("2025.11.0"), spec: manyServices,
			before: func(w *world, _ []proxysim.DeviceSpec) {
				for _, p := range w.sim.Proxies() {
					p.Truncate(1)
				}
			}},
		{name: "60 devices, 12 slots", note: "each is read and left; `slot_wait` of 18 s", devices: 60, config: "connect: {slot_wait: 18s}",
			leave: true, nightly: true},
	}
}

// TestTable connects in every situation; success has to be complete. With -update it writes the table, and asks for all
// rows of it.
func TestTable(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	results := make(map[string]result)
	t.Run("rows", func(t *testing.T) {
		for _, r := range rows() {
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				if r.nightly && !*update {
					harness.OnlyNightly(t)
				}
				res := r.run(t)
				for _, f := range res.failures {
					t.Error(f)
				}
				mu.Lock()
				defer mu.Unlock()
				results[r.name] = res
			})
		}
	})
	firmware := byFirmware(t)
	if *update && (len(results) < len(rows()) || !firmware.complete()) { // a part was asked for with -run
		return
	}
	if !t.Failed() {
		checkTable(t, results, firmware.table())
	}
}

func (r row) run(t *testing.T) result {
	var devices []proxysim.DeviceSpec
	for i := range r.devices {
		proxies := compass
		if r.serial {
			proxies = slices.Concat(compass[i%4:], compass[:i%4])
		}
		d := sensor(i, proxies...)
		if r.spec != nil {
			r.spec(&d)
		}
		devices = append(devices, d)
	}
	all := devices
	if strings.Contains(r.config, "pin:") {
		for i := range 3 {
			all = append(all, sensor(100+i, compass...))
		}
	}
	w := newWorld(t, setup{devices: all, proxies: r.proxies, config: patiently(r.config)})
	if r.before != nil {
		r.before(w, devices)
	}
	res := result{row: r, took: make([]time.Duration, len(devices))}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i, d := range devices {
		one := func() {
			took, err := r.connect(w, d)
			mu.Lock()
			defer mu.Unlock()
			res.took[i] = took
			if err != nil {
				res.failures = append(res.failures, fmt.Sprintf("%s after %v: %v", d.ID, took, err))
			}
		}
		if wg.Go(one); r.serial {
			wg.Wait()
		}
	}
	wg.Wait()
	return res
}

// connect is one attempt: the call, the services, and a value.
func (r row) connect(w *world, d proxysim.DeviceSpec) (time.Duration, error) {
	if r.first != nil {
		r.first(w, d)
	}
	path := devicePath(d)
	patience := limit
	if *update {
		patience = promised
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	start := time.Now()
	connected, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		if r.during != nil {
			r.during(w, d, connected)
		}
	}()
	call := w.object(path).CallWithContext(ctx, deviceIface+".Connect", 0)
	close(connected)
	<-over
	if call.Err != nil {
		return time.Since(start), call.Err
	}
	if err := w.resolved(ctx, path); err != nil {
		return time.Since(start), err
	}
	took := time.Since(start)
	services := 0
	for p, ifaces := range w.Objects() {
		if _, ok := ifaces["org.bluez.GattService1"]; ok && strings.HasPrefix(string(p), string(path)) {
			services++
		}
	}
	if services != len(d.GATT.Services) {
		return took, fmt.Errorf("%d services, want %d", services, len(d.GATT.Services))
	}
	var value []byte
	read := w.object(path+"/service0004/char0005").CallWithContext(ctx, charIface+".ReadValue", 0, map[string]dbus.Variant{})
	if err := read.Store(&value); err != nil || string(value) != "hello" {
		return took, fmt.Errorf("read %q, %w", value, err)
	}
	if r.leave {
		if call := w.object(path).CallWithContext(ctx, deviceIface+".Disconnect", 0); call.Err != nil {
			return took, call.Err
		}
	}
	return took, nil
}

// pinned keeps n further devices to the best proxy.
func pinned(n int) string {
	s := "devices:\n"
	for i := range n {
		s += fmt.Sprintf("  - {address: %q, pin: north}\n", sensor(100+i).Address)
	}
	return s
}

func fillNorth(w *world, _ []proxysim.DeviceSpec) {
	for i := range 3 {
		w.link(devicePath(sensor(100 + i)))
	}
	if free := w.sim.Proxy("north").Slots().Free; free != 0 {
		w.t.Fatalf("%d slots are free", free)
	}
}

func versions(v string) []proxysim.ProxyConfig {
	var out []proxysim.ProxyConfig
	for _, name := range compass {
		out = append(out, proxysim.ProxyConfig{Name: name, Version: v})
	}
	return out
}

// manyServices gives a device so many services that their discovery takes long.
func manyServices(d *proxysim.DeviceSpec) {
	for i := range 30 {
		s := proxysim.ServiceSpec{UUID: ble.UUID{0: 0xb1, 15: byte(i)}}
		for j := range 4 {
			s.Characteristics = append(s.Characteristics, proxysim.CharSpec{UUID: ble.UUID{0: 0xb2, 14: byte(i), 15: byte(j)}, Properties: []string{"read"}})
		}
		d.GATT.Services = append(d.GATT.Services, s)
	}
}

func restart(p *proxysim.Proxy) { p.Restart(time.Hour) }

func powerOff(p *proxysim.Proxy) { p.PowerOff() }

// silence stops the advertising of devices that were heard just before: the daemon tries to connect to them, and the
// attempt waits.
func silence(w *world, devices []proxysim.DeviceSpec) {
	for _, d := range devices {
		if err := w.sim.Air().Advertise(d.ID, false); err != nil {
			w.t.Error(err)
		}
	}
}

// midConnect does something to the proxy that tries to connect, and lets the device be heard again.
func midConnect(do func(*proxysim.Proxy)) func(*world, proxysim.DeviceSpec, <-chan struct{}) {
	return func(w *world, d proxysim.DeviceSpec, _ <-chan struct{}) {
		if poll(w.t, "somebody dials "+d.ID, func() bool { return w.holder(d) != "" }) {
			do(w.sim.Proxy(w.holder(d)))
		}
		if err := w.sim.Air().Advertise(d.ID, true); err != nil {
			w.t.Error(err)
		}
	}
}

// holdServices lets no list of services come to its end.
func holdServices(w *world, _ proxysim.DeviceSpec) {
	for _, p := range w.sim.Proxies() {
		p.HoldServices(true)
	}
}

// midDiscovery does something to the proxy that has the link, and lets the lists of services of the others come to their
// end.
func midDiscovery(do func(*proxysim.Proxy)) func(*world, proxysim.DeviceSpec, <-chan struct{}) {
	return func(w *world, d proxysim.DeviceSpec, connected <-chan struct{}) {
		<-connected
		if h := w.holder(d); h != "" {
			do(w.sim.Proxy(h))
		} else {
			w.t.Errorf("nobody has a link to %s", d.ID)
		}
		for _, p := range w.sim.Proxies() {
			p.HoldServices(false)
		}
	}
}

// checkTable compares what the table says with the results, or writes it. Of a row that did not run, it compares the
// words.
func checkTable(t *testing.T, results map[string]result, byFirmware string) {
	text := new(strings.Builder)
	fmt.Fprintf(text, "%s\n", heading)
	fmt.Fprintln(text, "| situation | remarks | connections | success | median | slowest |")
	fmt.Fprintln(text, "| --- | --- | ---: | ---: | ---: | ---: |")
	for _, r := range rows() {
		res, ran := results[r.name]
		if !ran {
			res.took = make([]time.Duration, r.devices)
		}
		slices.Sort(res.took)
		ok := len(res.took) - len(res.failures)
		fmt.Fprintf(text, "| %s | %s | %d | %d %% | %s | %s |\n", r.name, r.note, len(res.took), 100*ok/len(res.took),
			seconds(res.took[len(res.took)/2]), seconds(res.took[len(res.took)-1]))
	}
	fmt.Fprint(text, footing, byFirmware)
	t.Logf("\n%s", text)
	if *update {
		if err := os.WriteFile(table, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	if want, got := untimed(string(old)), untimed(text.String()); want != got {
		t.Errorf("%s is not what the test finds; run it with -update:\n%s", table, got)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// untimed takes the columns that differ from run to run from the tables: the last two of the first, and the versions'.
func untimed(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		cells := strings.Split(line, "|")
		switch {
		case len(cells) == 8:
			line = strings.Join(cells[:5], "|") + "\n"
		case len(cells) == len(firmwares)+4 && cells[1] != " situation ":
			line = strings.Join(cells[:3], "|") + "\n"
		}
		out = append(out, line)
	}
	return strings.Join(out, "")
}
