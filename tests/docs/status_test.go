package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

const (
	pulse       = "/org/bluez/hci0/dev_C8_2B_96_10_00_01"
	lock        = "/org/bluez/hci0/dev_E1_5D_0A_10_00_03"
	statusEvery = 200 * time.Millisecond
)

// TestStatusShown: docs/operations.md shows what status and devices print. With -write it is written anew:
//
//	go -C tests/docs test -count=1 -run StatusShown . -args -write
func TestStatusShown(t *testing.T) {
	t.Parallel()
	path := harness.Path(t, "docs", "operations.md")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	bus := fourProxies(t)
	shown := regexp.MustCompile("(?s)```\n\\$ bluez-esphome ([^\n]+)\n(.*?)```")
	blocks := shown.FindAllStringSubmatch(text, -1)
	if len(blocks) < 3 {
		t.Fatalf("%d outputs are shown", len(blocks))
	}
	for _, m := range blocks {
		// On a busy machine a proxy has not heard a device yet, or not for a while.
		eventually(t, "output as docs/operations.md shows it", func() error {
			p := harness.Start(t, bus.Env(), harness.Binary(), strings.Fields(m[1])...)
			if status := p.Wait(t, harness.Limit); status != 0 {
				t.Fatalf("bluez-esphome %s: status %d", m[1], status)
			}
			got := p.Out.String()
			if *write {
				text = strings.Replace(text, m[0], "```\n$ bluez-esphome "+m[1]+"\n"+got+"```", 1)
			} else if w, g := timeless(m[2]), timeless(got); !slices.Equal(w, g) {
				return fmt.Errorf("it shows for bluez-esphome %s\n%s\nit prints\n%s", m[1], strings.Join(w, "\n"), got)
			}
			return nil
		})
	}
	if *write {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

var deviceRow = regexp.MustCompile(`^[0-9A-F]{2}(:[0-9A-F]{2}){5} `)

// timeless takes out of an output what differs from one run to the next: times, signal strengths and who hears best,
// ports, and how wide columns are.
func timeless(text string) (out []string) {
	// the places where lines are wrapped depend on the lengths of times
	text = regexp.MustCompile(`\n  +(\S)`).ReplaceAllString(text, " $1")
	for line := range strings.Lines(text) {
		line = regexp.MustCompile(`\*? -\d+\b( \d+s)?|\b\d+s\b|\bin \d+ (s|min)\b|127\.0\.0\.1:\d+`).ReplaceAllString(line, "#")
		words := strings.Fields(line)
		if deviceRow.MatchString(line) { // who hears a device best, and so comes first, changes
			words = strings.Fields(strings.ReplaceAll(line, ",", " "))
			slices.Sort(words)
		}
		out = append(out, strings.Join(words, " "))
	}
	return out
}

// fourProxies runs the daemon with two good proxies, an old one, and one whose key is missing; two devices are
// connected.
func fourProxies(t *testing.T) *harness.Bus {
	t.Helper()
	_, addrs := harness.Simulate(t, "", "kitchen=127.0.0.1:0", "garage=127.0.0.1:0,psk="+key,
		"attic=127.0.0.1:0,version=2024.10.0,features=3f", "hall=127.0.0.1:0,psk="+key)
	bus := harness.Run(t, fmt.Sprintf(`devices: [{address: "E1:5D:0A:10:00:03", pin: garage}, {address: "C8:2B:96:10:00:01", pin: kitchen}]
proxies:
  - {name: kitchen, address: %q}
  - {name: garage, address: %q, noise_psk: %q}
  - {name: attic, address: %q}
  - {name: hall, address: %q}
`, addrs["kitchen"], addrs["garage"], key, addrs["attic"], addrs["hall"]))
	for range 3 {
		bus.Daemon.Err.Expect(t, `msg="Proxy is online"`)
	}
	conn := bus.Connect(t)
	adapter := conn.Object("org.bluez", "/org/bluez/hci0")
	if err := adapter.Call("org.bluez.Adapter1.StartDiscovery", 0).Err; err != nil {
		t.Fatal(err)
	}
	for _, path := range []dbus.ObjectPath{pulse, lock} {
		// A connected device does not advertise, so every proxy has to have heard it before.
		eventually(t, "all three proxies hear "+filepath.Base(string(path)), func() error {
			v, err := conn.Object("org.bluez", path).GetProperty("org.bluez_esphome.Device1.Sources")
			if list, _ := v.Value().([]map[string]dbus.Variant); err == nil && len(list) < 3 {
				err = fmt.Errorf("%d of 3 do", len(list))
			}
			return err
		})
		connect := func() error { return conn.Object("org.bluez", path).Call("org.bluez.Device1.Connect", 0).Err }
		eventually(t, "a connection with "+filepath.Base(string(path)), connect)
	}
	// Wait until everything is there that is going to come.
	eventually(t, "all devices on the bus", func() error {
		p := harness.Start(t, bus.Env(), harness.Binary(), "status")
		p.Wait(t, harness.Limit)
		if out := p.Out.String(); !regexp.MustCompile(`(?s)hall +auth-failed.*7 devices heard, 7 on the bus, 2 connected`).MatchString(out) {
			return fmt.Errorf("status is\n%s", out)
		}
		return nil
	})
	return bus
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	end := time.Now().Add(harness.Limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no %s: %v", what, err)
		}
		<-tick.C
	}
}
