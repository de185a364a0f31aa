package config

import "testing"

// TestOfferVHCI: --vhci adds a controller of this kernel only where the file has none.
func TestOfferVHCI(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		have []Controller
		want int
	}{
		"none":         {nil, 1},
		"a socket":     {[]Controller{{Unix: "/run/hci"}}, 2},
		"one already":  {[]Controller{{VHCI: true, Proxies: []string{"kitchen"}}}, 1},
		"among others": {[]Controller{{PTY: "/run/tty"}, {VHCI: true}}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &Config{HCI: test.have}
			c.OfferVHCI()
			c.OfferVHCI() // a second time changes nothing
			kernel := 0
			for _, ctl := range c.HCI {
				if ctl.VHCI {
					kernel++
				}
			}
			if len(c.HCI) != test.want || kernel != 1 {
				t.Errorf("there are %d controllers, %d of the kernel, want %d and 1", len(c.HCI), kernel, test.want)
			}
		})
	}
}
