package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sync/errgroup"
)

// scenario is one recording to compare with; length is how long it took, in ms.
type scenario struct {
	set, name string
	length    int64
}

// player plays scenarios against one binary.
type player struct {
	bin, golden, python, work string
	peripherals               string // file with the devices in the air
	reasons                   []reason
}

// mode is the circumstances under which scenarios are played.
type mode struct {
	name       string
	env        []string // further lines of the daemon's configuration
	background bool     // three proxies stream the adverts of many other devices
	lanes      int
	out        string // folder of our recordings
}

// length is the time of the last event of a recording.
func length(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var doc struct{ Events []struct{ T int64 } }
	if err := json.Unmarshal(b, &doc); err != nil {
		return 0, fmt.Errorf("cannot read %s: %w", path, err)
	}
	var last int64
	for _, e := range doc.Events {
		last = max(last, e.T)
	}
	return last, nil
}

// play records and compares the cases; a scenario of several sets is recorded once.
// A scenario with unexplained differences is played once more, alone: some depend on timing, and the machine may be
// busy.
func (p *player) play(ctx context.Context, m mode, cases []scenario) ([]result, error) {
	results, err := p.playOnce(ctx, m, cases)
	if err != nil {
		return nil, err
	}
	again := m
	again.lanes, again.out = 1, m.out+"-again"
	for i, r := range results {
		if !r.failed() {
			continue
		}
		second, err := p.playOnce(ctx, again, []scenario{r.scenario})
		if err != nil {
			return nil, err
		}
		if !second[0].failed() {
			fmt.Printf("golden: %s (%s) only held when it was played alone; before:\n%s", r.name, r.set, r.unexplained())
		}
		results[i] = second[0]
	}
	return results, nil
}

func (p *player) playOnce(ctx context.Context, m mode, cases []scenario) ([]result, error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(m.lanes)
	var mu sync.Mutex
	seen := map[string]bool{}
	for _, c := range cases {
		if seen[c.name] {
			continue
		}
		seen[c.name] = true
		g.Go(func() error {
			note, err := p.record(gctx, m, c.name)
			mu.Lock()
			defer mu.Unlock()
			fmt.Printf("golden: %-45s %s\n", c.name, note)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	bySet := map[string][]string{}
	for _, c := range cases {
		bySet[c.set] = append(bySet[c.set], c.name)
	}
	var out []result
	for _, set := range slices.Sorted(maps.Keys(bySet)) {
		rs, err := p.compare(ctx, m.out, set, bySet[set])
		if err != nil {
			return nil, err
		}
		out = append(out, rs...)
	}
	return out, nil
}

// scenarioLimit bounds one scenario: the longest waits of the driver add up to 2 minutes.
const scenarioLimit = 6 * time.Minute

// record plays one scenario with a proxy, bus and daemon of its own. The note says how it went; an error
// is only what makes everything else futile too.
func (p *player) record(ctx context.Context, m mode, name string) (note string, err error) {
	ctx, stop := context.WithTimeout(ctx, scenarioLimit)
	defer stop()
	dir, err := os.MkdirTemp(p.work, "l")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	env := append(os.Environ(), "XDG_RUNTIME_DIR="+dir, "HOME="+dir, "STATE_DIRECTORY=", "RUNTIME_DIRECTORY=", "NOTIFY_SOCKET=",
		"BLUEZ_ESPHOME_STATE_DIR="+filepath.Join(dir, "state"), "PYTHONDONTWRITEBYTECODE=1")
	proxies, air := []string{"golden"}, p.peripherals
	if m.background {
		proxies = append(proxies, "second", "third")
		air, err = crowd(p.peripherals, dir)
		if err != nil {
			return "", err
		}
	}
	control := filepath.Join(dir, "c")
	if err := os.Mkdir(control, 0o700); err != nil {
		return "", err
	}

	command := []string{p.bin, "simulate", "--peripherals", air, "--control", control}
	for _, name := range proxies {
		command = append(command, "--proxy", name+"=127.0.0.1:0")
	}
	sim, err := start(ctx, dir, "simulate", env, `listens on (\S+)`, len(proxies), command...)
	if err != nil {
		return "", err
	}
	defer sim.stop()
	conf := filepath.Join(dir, "config.yaml")
	text := "proxies:\n"
	for i, name := range proxies {
		text += fmt.Sprintf("  - {name: %s, address: %q}\n", name, sim.found[i])
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return "", err
	}
	daemon, err := start(ctx, dir, "daemon", append(env, m.env...), `^DBUS_SYSTEM_BUS_ADDRESS=(\S+)`, 1, p.bin, "run", "--config", conf, "--bus", "private")
	if err != nil {
		return "", err
	}
	defer daemon.stop()
	if err := p.prepare(name, daemon.found[0]); err != nil {
		return "", err
	}

	cmd := exec.CommandContext(ctx, p.python, filepath.Join(p.golden, "driver", "golden.py"), "record", "--only", name, "--out", m.out,
		"--peripheral", p.peripherals, "--control", "main="+filepath.Join(control, "main.sock"), "--control", "beacon="+filepath.Join(control, "beacon.sock"))
	cmd.Env = append(env, "DBUS_SYSTEM_BUS_ADDRESS="+daemon.found[0])
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "played", nil
	case errors.As(err, &exit) && ctx.Err() == nil:
		return "driver: " + strings.TrimSpace(string(out)), nil
	case errors.As(err, &exit):
		return "did not end within " + scenarioLimit.String(), nil
	}
	return "", fmt.Errorf("cannot run the driver: %w (make test-clients installs Python's part)", err)
}

// prepare brings the adapter into the state in which the recording began: some were made after scenarios that had
// changed it.
func (p *player) prepare(name, bus string) error {
	recording, err := readRecording(filepath.Join(p.golden, reference(p.golden, name), name+".json"))
	if err != nil {
		return err
	}
	conn, err := dbus.Connect(bus)
	if err != nil {
		return fmt.Errorf("cannot connect to the bus of %s: %w", name, err)
	}
	defer conn.Close()
	adapter, _ := recording.doc["adapter"].(map[string]any)
	for _, property := range []string{"Connectable", "Pairable"} {
		entry, _ := adapter[property].(map[string]any)
		if on, ok := entry["value"].(bool); ok {
			if err := conn.Object("org.bluez", "/org/bluez/hci0").SetProperty("org.bluez.Adapter1."+property, dbus.MakeVariant(on)); err != nil {
				return fmt.Errorf("cannot set %s for %s: %w", property, name, err)
			}
		}
	}
	return nil
}

// The background: so many devices advertise so often; three proxies that hear them all report 2,000 adverts a second.
const (
	crowdDevices    = 200
	crowdIntervalMS = 300
)

// crowd writes a file with the peripherals and the background's.
func crowd(peripherals, dir string) (string, error) {
	b, err := os.ReadFile(peripherals)
	if err != nil {
		return "", err
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		return "", err
	}
	devices, _ := doc["devices"].([]any)
	for i := range crowdDevices {
		devices = append(devices, map[string]any{
			"id": fmt.Sprintf("crowd%d", i), "address": fmt.Sprintf("C7:00:00:00:%02X:%02X", i>>8, i&0xff), "address_type": "random",
			"advertisement": map[string]any{"flags": 6, "manufacturer_data": map[string]string{"65534": fmt.Sprintf("%04x", i)}, "interval_ms": crowdIntervalMS},
		})
	}
	doc["devices"] = devices
	b, err = json.Marshal(doc)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "peripherals.json")
	return path, os.WriteFile(path, b, 0o600)
}
