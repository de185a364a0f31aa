package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// controllerFile holds the reasons of differences where bluetoothd itself plays, on a controller of ours.
//
//go:embed controller.json
var controllerFile []byte

// crash is why bluetoothd may crash.
const crash = "Bluetoothd 5.87 as released calls the text of a filter's UUID as a function at the first device that has services, with every " +
	"controller ([bluez#2282](https://github.com/bluez/bluez/issues/2282), mended after 5.87; the recordings are of a later source). " +
	"The step “scan with a filter by service” makes that scan with the other versions."

// judge compares recordings of a bluetoothd whose controller is ours with those of the same bluetoothd on its emulated one, LE-only as well. It
// fails if a difference has no reason in controller.json; scenarios that were not played, or in which bluetoothd crashed, are
// named, and are no failure.
func (p *player) judge(ctx context.Context, o options, guide string) error {
	var err error
	if p.reasons, err = loadReasons(controllerFile, guide); err != nil {
		return err
	}
	all, err := plan(p.golden, true, o.only)
	if err != nil {
		return err
	}
	names := map[string][]string{}
	var left, crashed []string
	for _, c := range all {
		experimental := strings.HasPrefix(c.name, "advertisement_monitor")
		switch {
		case experimental != (c.set == "bluez-5.87-experimental") || !experimental && c.set != "bluez-5.87":
		case !exists(filepath.Join(o.played, c.name+".json")):
			left = append(left, "`"+c.name+"`")
		case ended(filepath.Join(o.played, c.name+".json")):
			crashed = append(crashed, "`"+c.name+"`")
		default:
			names[c.set] = append(names[c.set], c.name)
		}
	}
	var results []result
	for set, list := range names {
		rs, err := p.compare(ctx, o.played, set, list)
		if err != nil {
			return err
		}
		results = append(results, rs...)
	}
	results = sorted(results)
	var b strings.Builder
	section(&b, results)
	if len(left) > 0 {
		fmt.Fprintf(&b, "\nNot played: %s.\n", strings.Join(left, ", "))
	}
	if len(crashed) > 0 {
		fmt.Fprintf(&b, "\nNothing to compare, since bluetoothd itself crashed: %s. %s\n", strings.Join(crashed, ", "), crash)
	}
	explanations(&b, p.reasons, "controller.md")
	differences(&b, "the same bluetoothd did with a controller of ours", results)
	if o.section != "" {
		if err := os.WriteFile(o.section, []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	total, bad := 0, 0
	for _, r := range results {
		n, u := r.count()
		total, bad = total+n, bad+u
	}
	fmt.Printf("golden: on a controller of ours: %d scenarios, %d differing lines, %d unexplained; %d not played; bluetoothd crashed in %d\n", len(results), total, bad, len(left), len(crashed))
	return verdictOf(results)
}

// ended reports whether org.bluez left the bus while a scenario was played. Nobody restarts bluetoothd there.
func ended(path string) bool {
	r, err := readRecording(path)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(r.events, func(e map[string]any) bool {
		args, _ := e["args"].([]any)
		return e["member"] == "NameOwnerChanged" && len(args) == 3 && args[0] == "org.bluez" && args[2] == ""
	})
}
