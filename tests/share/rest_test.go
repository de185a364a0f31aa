package share

import (
	"fmt"
	"strings"
	"testing"

	"bluez-esphome/internal/proxysim"
)

// device makes the proxies of a world devices that are more than that.
func device(c *proxysim.ProxyConfig) {
	c.ProjectName, c.ProjectVersion, c.Area, c.FriendlyName = "bluez-esphome.climate-node", "1.2.0", "Living Room", "Climate Node"
	c.AskTime, c.Entities = true, proxysim.DemoEntities()
}

// TestWholeDevice: ESPHome's client library finds in a shared proxy all that the device has, as it would at the device
// itself.
func TestWholeDevice(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, setup{proxy: device}, "node")
	host, _, out := w.python(t, "../sim/aio_device.py", "share", "127.0.0.1", fmt.Sprint(w.port), key, "node-shared")
	if err := host.Wait(); err != nil {
		t.Errorf("the host's checks failed: %v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	t.Log(lines[len(lines)-1])
	if e, err := w.sim.Proxy("node").Entity("identify"); err != nil || e.Presses != 1 {
		t.Errorf("the button was pressed %d times (%v), want 1", e.Presses, err)
	}
}
