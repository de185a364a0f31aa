package reload

import (
	"fmt"
	"testing"

	"bluez-esphome/tests/harness"
)

// TestWatch: status --watch goes on while the daemon is restarted.
func TestWatch(t *testing.T) {
	t.Parallel()
	_, addrs := harness.Simulate(t, "", "kitchen=127.0.0.1:0")
	place := harness.NewPlace(t)
	text := fmt.Sprintf("proxies: [{name: kitchen, address: %q}]\n", addrs["kitchen"])
	first := place.Run(t, text)
	// Temporary buses of other tests are not to be found.
	p := harness.Start(t, append(place.Env(), "TMPDIR="+place.Dir), harness.Binary(), "status", "--watch")
	p.Out.Expect(t, `kitchen +online`)
	first.Daemon.Stop(t)
	p.Out.Expect(t, `cannot find a running bluez-esphome; looked at\n  `)
	place.Run(t, text)
	p.Out.Expect(t, `kitchen +online`)
}
