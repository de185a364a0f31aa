package main

import (
	"strings"
	"testing"
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
