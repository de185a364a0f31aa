package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bluez-esphome/tests/harness"
)

// TestMain takes the program as it is shipped, since the rows measure that. By night the program has the race detector.
func TestMain(m *testing.M) {
	if harness.Nightly() {
		harness.Main(m)
	}
	harness.MainPlain(m)
}

// TestRows runs rows with little load. It does not judge the figures: it checks that every quantity was measured, and
// that every program that a row compares was.
func TestRows(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "bench")
	build := exec.Command("go", "build", "-o", bin, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build: %v\n%s", err, out)
	}
	// All but the flood, which is the paced row without a pace.
	var keys []string
	for _, r := range rows() {
		if _, there := harness.Server("mosquitto"); r.key == "stream" && !there {
			fmt.Println("skipped: the row stream of the benchmarks:", errNoMosquitto)
			continue
		}
		if r.key != "flood" {
			keys = append(keys, r.key)
		}
	}
	file := filepath.Join(t.TempDir(), "report.md")
	p := harness.Start(t, nil, bin, "-quick", "-json", "-rows", strings.Join(keys, ","), "-o", file,
		"-bin", harness.Binary(), "-python", harness.Python(t))
	if status := p.Wait(t, 20*time.Minute); status != 0 {
		t.Fatalf("exit status %d", status)
	}
	var got report
	if err := json.Unmarshal([]byte(p.Out.String()), &got); err != nil {
		t.Fatal(err)
	}
	checks := map[string]int{"paced": 2, "home": 3, "emit": 1, "managed": 2, "rss": 3, "start": 1, "gatt": 2, "notify": 2, "growth": 2, "share": 0, "stream": 4, "connect": 4, "absent": 3, "controller": 4, "relayed": 3, "page": 2, "siege": 3}
	for i, r := range got.Rows {
		if r.Key != keys[i] {
			t.Fatalf("row %d is %s, want %s", i, r.Key, keys[i])
		}
		n := 0
		for _, g := range r.Groups {
			n += len(g.Checks)
			for _, c := range g.Checks {
				if c.Reached <= 0 && r.Key != "controller" { // the controller's figure is a difference, which may be negative
					t.Errorf("%s, %s: %s of %s is %v", r.Key, g.Name, c.What, c.Of, c.Reached)
				}
			}
			for _, s := range g.Series {
				if len(s.Rounds) != 1 || s.Rounds[0] <= 0 && s.Who != "added" && r.Key != "controller" && !strings.Contains(s.What, "is told") && !strings.Contains(s.What, "attempts without") && !strings.Contains(s.What, "dbus-daemon") {
					t.Errorf("%s, %s: %s of %s is %v", r.Key, g.Name, s.What, s.Who, s.Rounds)
				}
			}
		}
		if n != checks[r.Key] {
			t.Errorf("%s: %d comparisons, want %d", r.Key, n, checks[r.Key])
		}
	}
	if len(got.Rows) != len(keys) {
		t.Errorf("%d of %d rows", len(got.Rows), len(keys))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bleak-esphome 4.1.0", "habluetooth", "aioesphomeapi", "go1.", "daemon ÷ floor", "## growth", byHand} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report does not tell of %s", want)
		}
	}
}

// TestFleet measures a small fleet. The reader gets everything that the daemons publish.
func TestFleet(t *testing.T) {
	t.Parallel()
	if _, there := harness.Server("mosquitto"); !there {
		t.Skip(errNoMosquitto)
	}
	bin := filepath.Join(t.TempDir(), "bench")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("cannot build: %v\n%s", err, out)
	}
	file := filepath.Join(t.TempDir(), "fleet.md")
	p := harness.Start(t, nil, bin, "fleet", "-bin", harness.Binary(), "-daemons", "1,2", "-proxies", "3", "-devices", "100", "-hearing", "2",
		"-rates", "200", "-seconds", "1", "-o", file)
	if status := p.Wait(t, 20*time.Minute); status != 0 {
		t.Fatalf("exit status %d", status)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, " | ")
		if len(cells) < 9 || cells[0] != "| 1" && cells[0] != "| 2" {
			continue
		}
		rows++
		if cells[2] == "0" || cells[4] != "0" {
			t.Errorf("published and dropped: %s", line)
		}
	}
	if rows != 2 || !strings.Contains(string(text), "mosquitto version") || !strings.Contains(string(text), "As a second broker: ") {
		t.Errorf("the report:\n%s", text)
	}
}

// TestRemarks: a new report keeps the remarks that people wrote at the end of the old one.
func TestRemarks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "report.md")
	first := &report{Rows: []*result{{Key: "one", Title: "One"}}}
	if err := first.write(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(b), noRemarks) {
		t.Fatalf("no place for remarks:\n%s", b)
	}
	const remark = byHand + "\n\n| one | because |\n"
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), noRemarks, remark, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	second := &report{Rows: []*result{{Key: "two", Title: "Two"}}}
	if err := second.write(path); err != nil {
		t.Fatal(err)
	}
	b, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b); !strings.HasSuffix(s, remark) || strings.Contains(s, "## one") || !strings.Contains(s, "## two") {
		t.Errorf("the second report:\n%s", s)
	}
}

// TestRatios: a check compares the median of the ratios of all rounds.
func TestRatios(t *testing.T) {
	t.Parallel()
	g := &group{}
	for i, v := range []float64{1, 9, 4} {
		g.add("a", "time, s", v)
		g.add("b", "time, s", []float64{10, 10, 16}[i])
	}
	g.ratio("time, s", "a", "b", 0.25)
	g.ratio("time, s", "a", "b", 0.24)
	g.atLeast("b", "time, s", " s", 10)
	g.atLeast("b", "time, s", " s", 11)
	g.atMost("a", "time, s", " s", 4)
	g.ratio("time, s", "a", "nobody", 1)
	var got []string
	for _, c := range g.Checks {
		got = append(got, strings.Join([]string{c.Of, c.What, digits(c.Reached), c.demand(), c.verdict()}, "|"))
	}
	want := []string{
		"time|a ÷ b|0.250|≤ 0.25|pass", "time|a ÷ b|0.250|≤ 0.24|short",
		"time|b|10.0|≥ 10 s|pass", "time|b|10.0|≥ 11 s|short", "time|a|4.00|≤ 4 s|pass",
	}
	if !slices.Equal(got, want) {
		t.Errorf("checks\n%q, want\n%q", got, want)
	}
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("median %v", m)
	}
}
