package main

import (
	"net/netip"
	"strings"
	"testing"

	"bluez-esphome/internal/mdns"
)

// TestOneHost: what happens to a proxy of Home Assistant's stands above the lines to paste, by firmware.
func TestOneHost(t *testing.T) {
	t.Parallel()
	yes := true
	connects, passive := []string{"PASSIVE_SCAN", "ACTIVE_CONNECTIONS"}, []string{"PASSIVE_SCAN"}
	for _, c := range []struct {
		name, version string
		features      []string
		configured    bool
		taken         bool
	}{
		{"up to 2026.6", "2026.6.5", connects, false, false},
		{"up to 2026.6, without connections", "2026.6.5", passive, false, false},
		{"2026.7", "2026.7.0", connects, false, true},
		{"a later 2026.7", "2026.7.4", connects, false, true},
		{"2026.7, but listed already", "2026.7.4", connects, true, false},
		{"from 2026.8", "2026.8.0", connects, false, false},
		{"from 2026.8, without connections", "2026.8.0", passive, false, true},
		{"from 2026.8, not asked for what it can", "2026.8.0", nil, false, false},
		{"unknown", "", nil, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			list := []*found{
				{Name: "kitchen", Address: "kitchen.local:6053", Version: c.version, Features: c.features, Proxy: &yes, Configured: c.configured},
				{Name: "hall", Address: "hall.local:6053", Version: "2026.10.0", Features: connects, Proxy: &yes},
			}
			for _, f := range list {
				f.configure()
			}
			var out strings.Builder
			if err := printFound(&out, list); err != nil {
				t.Fatal(err)
			}
			warning, lines, _ := strings.Cut(out.String(), "For the configuration;")
			if !strings.Contains(warning, "A proxy serves one host at a time.") || !strings.Contains(lines, "- {name: \"hall\"") {
				t.Errorf("prints\n%s", out.String())
			}
			if got := strings.Contains(warning, "cannot tell: kitchen\n"); got != c.taken {
				t.Errorf("the proxy is said to be taken: %v, want %v:\n%s", got, c.taken, out.String())
			}
		})
	}
}

// TestUnasked: why it is not known what a device can do stands below the table, which stays narrow.
func TestUnasked(t *testing.T) {
	t.Parallel()
	d := discovery{found: map[string]*found{}}
	for _, name := range []string{"kitchen", "hall", "shed"} {
		text := map[string]string{"api_encryption": "Noise"}
		if name == "shed" {
			delete(text, "api_encryption")
		}
		d.add(t.Context(), mdns.Service{Instance: name, Host: name + ".local", Port: 1, Text: text, Addrs: []netip.Addr{
			netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2"),
		}})
	}
	d.wg.Wait()
	var out strings.Builder
	if err := printFound(&out, []*found{d.found["kitchen"], d.found["hall"], d.found["shed"]}); err != nil {
		t.Fatal(err)
	}
	table, rest, _ := strings.Cut(out.String(), "\n\n")
	for _, want := range []string{
		"kitchen, hall: it is encrypted: give its key with --psk-file or --config to see what it can do\n",
		"shed: cannot connect to 127.0.0.1:1: connection refused; ", "; cannot connect to 127.0.0.2:1: ",
	} {
		if !strings.Contains(rest, want) {
			t.Errorf("%q is not in\n%s", want, rest)
		}
	}
	if lines := strings.Split(table, "\n"); len(lines) != 4 || len(lines[1]) > 80 || !strings.HasSuffix(lines[1], "?") {
		t.Errorf("the table is\n%s", table)
	}
}

// TestKeyless: discover names the proxies that stop working without encryption in ESPHome 2027.2, and no others.
func TestKeyless(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	for _, c := range []struct {
		name string
		f    found
		want bool
	}{
		{"built with encryption, no key", found{Keyless: true, Proxy: &yes}, true},
		{"the same, but it did not answer", found{Keyless: true}, true},
		{"the same, but no proxy", found{Keyless: true, Proxy: &no}, false},
		{"encrypted", found{Encrypted: true, Proxy: &yes}, false},
		{"built without encryption", found{Proxy: &yes}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.f.Name, c.f.Address = "kitchen", "kitchen.local:6053"
			var out strings.Builder
			if err := printFound(&out, []*found{&c.f, {Name: "hall", Address: "hall.local:6053", Proxy: &yes}}); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(out.String(), "2027.2") && strings.Contains(out.String(), "  no key: kitchen\n"); got != c.want {
				t.Errorf("named: %v, want %v:\n%s", got, c.want, out.String())
			}
		})
	}
}

// TestAnnouncedKeyless: what a device announces of its encryption is understood, also if it does not answer.
func TestAnnouncedKeyless(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name               string
		text               map[string]string
		encrypted, keyless bool
	}{
		{"neither", map[string]string{}, false, false},
		{"a key", map[string]string{"api_encryption": "Noise"}, true, false},
		{"no key", map[string]string{"api_encryption_supported": "Noise"}, false, true},
		{"both", map[string]string{"api_encryption": "Noise", "api_encryption_supported": "Noise"}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := discovery{found: map[string]*found{}}
			d.add(t.Context(), mdns.Service{Instance: "kitchen", Host: "kitchen.local", Port: 1, Text: c.text})
			d.wg.Wait()
			if f := d.found["kitchen"]; f == nil || f.Encrypted != c.encrypted || f.Keyless != c.keyless {
				t.Errorf("%+v", f)
			}
		})
	}
}
