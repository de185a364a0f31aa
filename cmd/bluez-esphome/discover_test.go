package main

import (
	"strings"
	"testing"

	"bluez-esphome/internal/mdns"
)

// TestOneHost: what happens to a proxy of Home Assistant's stands above the lines to paste, by firmware.
func TestOneHost(t *testing.T) {
	t.Parallel()
	yes := true
	for _, c := range []struct {
		name, version string
		configured    bool
		taken         bool
	}{
		{"up to 2026.6", "2026.6.5", false, false},
		{"2026.7", "2026.7.0", false, true},
		{"a later 2026.7", "2026.7.4", false, true},
		{"2026.7, but listed already", "2026.7.4", true, false},
		{"from 2026.8", "2026.8.0", false, false},
		{"unknown", "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			list := []*found{
				{Name: "kitchen", Address: "kitchen.local:6053", Version: c.version, Proxy: &yes, Configured: c.configured},
				{Name: "hall", Address: "hall.local:6053", Version: "2026.10.0", Proxy: &yes},
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
			if got := strings.Contains(warning, "ESPHome 2026.7: kitchen\n"); got != c.taken {
				t.Errorf("the proxy is said to be taken: %v, want %v:\n%s", got, c.taken, out.String())
			}
		})
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
