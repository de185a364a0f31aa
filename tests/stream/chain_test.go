package stream

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"
)

// steps is a program with bleak: it reads, writes and is notified, and ends when its input does.
const steps = `
import asyncio, sys
from bleak import BleakClient, BleakScanner

VALUE, COUNTER = "b1e50002-6d5e-4c1b-9e3a-1f0c2d3e4f50", "b1e50004-6d5e-4c1b-9e3a-1f0c2d3e4f50"

async def main():
    device = await BleakScanner.find_device_by_address("C8:2B:96:10:00:01", timeout=120)
    async with BleakClient(device, timeout=120) as client:
        await client.write_gatt_char(VALUE, b"through two", response=True)
        print("read", bytes(await client.read_gatt_char(VALUE)).decode(), flush=True)
        heard = asyncio.Queue()
        await client.start_notify(COUNTER, lambda _, value: heard.put_nowait(bytes(value)))
        for _ in range(3):
            await asyncio.wait_for(heard.get(), 120)
        print("notified", flush=True)

asyncio.run(main())
`

// bleak runs steps on a bus.
func bleak(t *testing.T, bus *harness.Bus) {
	t.Helper()
	cmd := exec.Command(harness.Python(t), "-c", steps)
	cmd.Env = append(os.Environ(), bus.Env()...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "read through two\nnotified\n") {
		t.Errorf("bleak: %v\n%s", err, out)
	}
}

// proxy is a property of the proxy with that name.
func property(c *harness.Client, name, property string) any {
	for _, ifaces := range c.Objects() {
		if p := ifaces["org.bluez_esphome.Proxy1"]; p["Name"].Value() == name {
			return p[property].Value()
		}
	}
	return nil
}

// TestChain: bleak on one daemon reads, writes and gets notifications through the proxy of another daemon, which shares
// its proxies singly or all as one. When the other daemon restarts, it works again by itself. No daemon uses a proxy
// that comes from itself.
func TestChain(t *testing.T) {
	t.Parallel()
	for _, offer := range []string{"each", "merged"} {
		t.Run(offer, func(t *testing.T) {
			t.Parallel()
			_, at := harness.Simulate(t, "", "kitchen=127.0.0.1:0")
			portA, portB := harness.FreePort(t), harness.FreePort(t)
			first, second := harness.NewPlace(t), harness.NewPlace(t)
			// Each uses the other: what B shares comes from A.
			configA := fmt.Sprintf(`
proxies: [{name: kitchen, address: "%s"}, {name: back, address: "127.0.0.1:%d"}]
share: {listen: 127.0.0.1, base_port: %d, offer: %s}
`, at["kitchen"], portB, portA, offer)
			a := first.Run(t, configA)
			b := second.Run(t, fmt.Sprintf(`
proxies: [{name: a, address: "127.0.0.1:%d"}]
share: {listen: 127.0.0.1, base_port: %d, offer: %s}
`, portA, portB, offer))
			onA, onB := a.Client(t), b.Client(t)
			online := func(c *harness.Client, name string) func() bool {
				return func() bool { return property(c, name, "State") == "online" }
			}
			onB.Eventually("B has the proxy of A", online(onB, "a"))
			if via, _ := property(onB, "a", "Via").([]string); len(via) != 1 {
				t.Errorf("B reaches it via %q", via)
			}
			onB.Eventually("B has its slots", func() bool { return property(onB, "a", "SlotLimit") == uint16(3) })
			onA.Eventually("A refuses what comes from itself", func() bool {
				why, _ := property(onA, "back", "LastError").(string)
				return strings.Contains(why, "a loop")
			})
			bleak(t, b)

			a.Daemon.Stop(t)
			onB.Eventually("B notices", func() bool { return property(onB, "a", "State") != "online" })
			if err := os.RemoveAll(filepath.Join(first.Dir, "bluez-esphome")); err != nil {
				t.Error(err)
			}
			first.Run(t, configA)
			onB.Eventually("B has it again", online(onB, "a"))
			bleak(t, b)
		})
	}
}
