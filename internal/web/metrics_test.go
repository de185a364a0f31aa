package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestMetrics(t *testing.T) {
	var m *Metrics
	s := start(t, hostileSource(), func(c *Config) { m = c.Metrics })
	m.Connected(1500*time.Millisecond, nil)
	m.Connected(20*time.Second, errTest)
	m.Read(30*time.Millisecond, nil)
	m.Written(40*time.Millisecond, errors.New("no"))
	m.Signalled(200 * time.Microsecond)
	m.Answered("org.bluez.Device1", "Connect", "")
	m.Answered("org.bluez.Device1", "Connect", "org.bluez.Error.Failed")
	m.Answered("", "", "org.freedesktop.DBus.Error.UnknownMethod")
	_, _, body := get(t, "GET", s.URL()+"metrics", "")
	for _, want := range []string{
		`bluez_esphome_build_info{version="1.2.3"} 1`,
		`bluez_esphome_proxy_adverts_total{proxy="kitchen"} 1234`,
		`bluez_esphome_proxy_received_bytes_total{proxy="kitchen"} 99`,
		`bluez_esphome_proxy_sent_bytes_total{proxy="kitchen"} 7`,
		`bluez_esphome_proxy_reconnects_total{proxy="kitchen"} 2`,
		`bluez_esphome_proxy_reconnects_total{proxy="kitchen-2"} 0`,
		`bluez_esphome_proxy_connect_failures_total{proxy="kitchen"} 2`,
		`bluez_esphome_proxy_slots_free{proxy="kitchen"} 1`,
		`bluez_esphome_proxy_slots_limit{proxy="kitchen"} 3`,
		`bluez_esphome_proxy_links{proxy="kitchen"} 1`,
		`bluez_esphome_share_hosts{share="kitchen-shared"} 2`,
		`bluez_esphome_controller_host{controller="vhci"} 1`,
		`bluez_esphome_controller_scanning{controller="vhci"} 1`,
		`bluez_esphome_controller_links{controller="vhci"} 1`,
		`bluez_esphome_controller_reports_total{controller="vhci"} 50`,
		`bluez_esphome_controller_dropped_reports_total{controller="vhci"} 6`,
		`bluez_esphome_share_links{share="kitchen-shared"} 1`,
		`bluez_esphome_share_batches_total{share="kitchen-shared"} 90`,
		`bluez_esphome_share_dropped_batches_total{share="kitchen-shared"} 4`,
		`bluez_esphome_proxy_state{proxy="kitchen",state="online"} 1`,
		`bluez_esphome_proxy_state{proxy="kitchen",state="offline"} 0`,
		`bluez_esphome_proxy_state{proxy="<script>window.hurt=1</script>",state="auth-failed"} 1`,
		`bluez_esphome_connects_total{result="no-answer"} 2`, `bluez_esphome_links_ended_total{reason="fell-silent"} 1`,
		`bluez_esphome_notifications_lost_total 9`,
		`bluez_esphome_proxy_last_heard_timestamp_seconds{proxy="kitchen"} `,
		`bluez_esphome_air_adverts_total 77`,
		`bluez_esphome_air_source_switches_total 5`,
		`bluez_esphome_connect_seconds_bucket{result="ok",le="2"} 1`,
		`bluez_esphome_connect_seconds_count{result="error"} 1`,
		`bluez_esphome_read_seconds_count{result="ok"} 1`,
		`bluez_esphome_write_seconds_count{result="error"} 1`,
		`bluez_esphome_advert_signal_seconds_bucket{le="0.00025"} 1`,
		`bluez_esphome_dbus_calls_total{interface="org.bluez.Device1",method="Connect"} 2`,
		`bluez_esphome_dbus_errors_total{error="org.bluez.Error.Failed",interface="org.bluez.Device1",method="Connect"} 1`,
		`bluez_esphome_dbus_calls_total{interface="unknown",method="unknown"} 1`,
		`process_resident_memory_bytes `, `go_goroutines `,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in the metrics", want)
		}
	}
	if strings.Contains(body, `bluez_esphome_proxy_slots_free{proxy="kitchen-2"}`) {
		t.Error("slots of a proxy that did not tell of any")
	}
}

// Texts from outside cannot spoil the metrics, and calls of methods that do not exist cannot fill the memory.
func TestMetricsHostile(t *testing.T) {
	f := &fakeSource{}
	for _, n := range append(hostile, strings.Repeat("x", 1<<20), "") {
		f.proxies = append(f.proxies, Proxy{Name: n, Host: n, Version: n, State: n, ScanMode: n}, Proxy{Name: n})
	}
	var m *Metrics
	s := start(t, f, func(c *Config) { m = c.Metrics })
	for i := range 10 * maxMethods {
		m.Answered("i", fmt.Sprint("method", i), fmt.Sprint("error.", i))
	}
	if n := len(m.calls); n > 2*maxMethods {
		t.Errorf("%d methods are kept", n)
	}
	code, _, body := get(t, "GET", s.URL()+"metrics", "")
	if code != 200 || !utf8.ValidString(body) || len(body) > 2<<20 {
		t.Fatalf("status %d, %d bytes", code, len(body))
	}
	if got, want := strings.Count(body, "bluez_esphome_proxy_info{"), len(f.proxies); got != want {
		t.Errorf("%d proxies, want %d", got, want)
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"Küche 1": "Küche 1", "a\x00b\nc": "a\ufffdb\ufffdc", "\u202eabc": "\ufffdabc", "\xffx": "\ufffdx", "日本": "日本", "\u2028": "\ufffd",
		strings.Repeat("é", 100): strings.Repeat("é", maxText),
	} {
		if got := text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := message(strings.Repeat("long ", 100)); len(got) != 400 {
		t.Errorf("a long message has %d bytes", len(got))
	}
}

// FuzzText: whatever text comes, the one that is shown is valid, short and without control characters.
func FuzzText(f *testing.F) {
	for _, h := range hostile {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, got := range []string{text(s), message(s)} {
			if !utf8.ValidString(got) || utf8.RuneCountInString(got) > 400 || strings.ContainsAny(got, "\x00\x1b\n\r\u202e") {
				t.Errorf("%q becomes %q", s, got)
			}
		}
	})
}

// TestDashboard: the program exports every metric that the dashboard asks for.
func TestDashboard(t *testing.T) {
	raw, err := os.ReadFile("../../configs/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dash struct {
		Title  string
		Panels []struct {
			ID      int
			Title   string
			Type    string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(&dash); err != nil {
		t.Fatal(err)
	}
	var m *Metrics
	s := start(t, hostileSource(), func(c *Config) { m = c.Metrics })
	m.Answered("a", "b", "c")
	_, _, body := get(t, "GET", s.URL()+"metrics", "")
	have := map[string]bool{}
	for _, l := range regexp.MustCompile(`(?m)^[a-z_]+`).FindAllString(body, -1) {
		have[l] = true
	}
	used, ids := map[string]bool{}, map[int]bool{}
	name := regexp.MustCompile(`\b(?:bluez_esphome|process|go)_[a-z_]+\b`)
	for _, p := range dash.Panels {
		if ids[p.ID] || p.Title == "" || p.GridPos.W <= 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q: its id is taken, or it has no title or place", p.ID, p.Title)
		}
		ids[p.ID] = true
		if len(p.Targets) == 0 && p.Type != "row" {
			t.Errorf("panel %q asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			names := name.FindAllString(target.Expr, -1)
			if len(names) == 0 {
				t.Errorf("panel %q: no metric of ours in %q", p.Title, target.Expr)
			}
			for _, n := range names {
				used[n] = true
				if !have[n] {
					t.Errorf("panel %q asks for %s, which is not exported", p.Title, n)
				}
			}
		}
	}
	t.Logf("%d panels, %d metrics", len(dash.Panels), len(used))
	for _, n := range []string{
		"proxy_state", "air_devices", "connect_seconds_bucket", "dbus_errors_total", "share_bluetooth_hosts", "share_entities_hosts", "share_dropped_batches_total",
		"stream_connected", "stream_published_total", "stream_dropped_total", "stream_queued",
	} {
		if !used[namespace+"_"+n] {
			t.Errorf("no panel shows %s", n)
		}
	}
}

// TestOperations: docs/operations.md tells of every metric that the program exports, and of no other one.
func TestOperations(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, line := range strings.Split(string(doc), "\n") {
		prefix := ""
		for _, n := range regexp.MustCompile("`(bluez_esphome_[a-z_]+|…_[a-z_]+)`").FindAllStringSubmatch(line, -1) {
			name := n[1]
			if rest, ok := strings.CutPrefix(name, "…"); ok {
				name = prefix + rest
			} else if parts := strings.SplitAfterN(name, "_", 4); len(parts) == 4 {
				prefix = strings.TrimSuffix(strings.Join(parts[:3], ""), "_") // bluez_esphome_proxy
			}
			told[name] = true
		}
	}
	var m *Metrics
	s := start(t, hostileSource(), func(c *Config) { m = c.Metrics })
	m.Answered("a", "b", "c")
	_, _, body := get(t, "GET", s.URL()+"metrics", "")
	have := map[string]bool{}
	for _, l := range regexp.MustCompile(`(?m)^# TYPE (bluez_esphome_[a-z_]+) `).FindAllStringSubmatch(body, -1) {
		have[l[1]] = true
		if !told[l[1]] {
			t.Errorf("docs/operations.md does not tell of %s", l[1])
		}
	}
	for n := range told {
		if !have[n] {
			t.Errorf("docs/operations.md tells of %s, which is not exported", n)
		}
	}
}
