package daemon

import (
	"testing"

	"bluez-esphome/internal/config"
)

// Before its first session a proxy without a name is its address, with the port where several may be at one.
func TestLabel(t *testing.T) {
	for _, tc := range []struct {
		p    *proxy
		want string
	}{
		{&proxy{name: "kitchen", cfg: config.Proxy{Host: "h", Port: 7}}, "kitchen"},
		{&proxy{cfg: config.Proxy{Host: "kitchen.local.", Port: config.DefaultPort}}, "kitchen.local."},
		{&proxy{cfg: config.Proxy{Host: "127.0.0.1", Port: 16053}}, "127.0.0.1:16053"},
		{&proxy{cfg: config.Proxy{Host: "fe80::1", Port: 16054}}, "[fe80::1]:16054"},
	} {
		if got := tc.p.label(); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}
