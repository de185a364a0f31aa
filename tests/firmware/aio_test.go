package firmware

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"
)

// TestIndependentProxies plays with proxies that are not ours.
func TestIndependentProxies(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, harness.SomePython(t), append([]string{"aio_proxy.py"}, versions...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if _, err := cmd.StdinPipe(); err != nil { // it serves until its input ends
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("the proxies' errors:\n%s", stderr.String())
		}
	})
	yaml := "proxies:\n"
	lines := bufio.NewScanner(out)
	for range versions {
		var version string
		var port int
		if !lines.Scan() {
			t.Fatalf("no proxies: %s", stderr.String())
		}
		if _, err := fmt.Sscan(lines.Text(), &version, &port); err != nil {
			t.Fatal(err)
		}
		yaml += fmt.Sprintf("  - {address: \"127.0.0.1:%d\", name: %s}\n", port, aioName(version))
	}
	w := &world{t: t, logs: new(logs)}
	w.start(yaml + patient)
	together(t, versions, func(v string) string { return v }, func(t *testing.T, v string) { playIndependent(t, w, v) })
}

func aioName(version string) string { return "aio-" + strings.ReplaceAll(version, ".", "-") }

func playIndependent(t *testing.T, w *world, version string) {
	name, d := aioName(version), proxysim.DeviceSpec{Address: 0x00AA04000000 + ble.Address(slices.Index(versions, version))}
	path := devicePath(d)
	w.logs.dump(t, name, d.Address.String())
	c := w.connect(t)
	c.until(limit, proxyPath(name), proxyIface, "State", "online")
	c.advertised(path, true)
	if !atLeast(version, "2022.12") {
		text := c.refused(connectTime, "org.bluez.Error.Failed", path, deviceIface+".Connect")
		if !strings.Contains(text, name) {
			t.Errorf("Connect said %q", text)
		}
		return
	}
	for round := range 4 {
		c.link(path)
		chr := c.char(path, echo)
		if v := c.read(chr); v != "hello" {
			t.Errorf("read %q", v)
		}
		c.write(chr, "with", "request")
		c.write(chr, "hello", "command")
		notifies := c.char(path, counter)
		values := c.values(notifies)
		c.subscribe(notifies)
		c.notified(values, "news")
		if round != 1 || !atLeast(version, "2023.3") { // else RemoveDevice ends it
			c.call(notifies, charIface+".StopNotify")
		}
		if round == 1 && atLeast(version, "2023.3") {
			c.call(path, deviceIface+".Pair")
			c.call(adapterPath, adapterIface+".RemoveDevice", path)
			c.until(limit, path, deviceIface, "Paired", false)
			continue
		}
		c.call(path, deviceIface+".Disconnect")
	}
	for _, line := range w.logs.with("level=WARN", name) {
		if !strings.Contains(line, "do not tell whether another host") { // which is true of them
			t.Errorf("the log warns: %s", line)
		}
	}
}
