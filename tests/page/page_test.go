package page

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/demo"
	"bluez-esphome/internal/web/webtest"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

var write = flag.Bool("write", false, "write the screenshots in docs")

// maxScreenshot keeps the repository small.
const maxScreenshot = 300 << 10

// output keeps what the demo prints. It may be read while the demo runs.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

// await waits until the demo has printed text that matches the pattern, and returns its first group.
func (o *output) await(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(harness.Limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		o.mu.Lock()
		m := re.FindSubmatch(o.buf.Bytes())
		o.mu.Unlock()
		if m != nil {
			return string(m[1])
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	t.Fatalf("the demo does not print %s, but:\n%s", pattern, o.buf.Bytes())
	return ""
}

// TestDemo opens the page of the demo on a desktop and on a phone, with light and with dark colours.
func TestDemo(t *testing.T) {
	webtest.Find(t)
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is not installed (apt install dbus-daemon)")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var out output
	done := make(chan error, 1)
	go func() {
		done <- demo.Run(ctx, demo.Options{Version: "demo", Out: &out, Log: slog.New(slog.DiscardHandler)})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	url := out.await(t, `(http://127\.0\.0\.1:\d+/)`)
	connect(t, out.await(t, `DBUS_SYSTEM_BUS_ADDRESS=(\S+)`), "/org/bluez/hci0/dev_C8_2B_96_10_00_01")

	p := webtest.Open(t)
	p.Look(webtest.View{Width: 1280, Height: 900})
	p.Go(url)
	p.Until(`document.querySelectorAll("#heat tbody tr").length === 7 && document.querySelectorAll(".card").length === 2`)
	p.Until(`document.querySelector(".slots .connected")?.textContent.includes("Pulse HR-1")`)
	p.Until(`[...document.querySelectorAll(".state")].every(e => e.textContent === "online")`)
	p.Eval(`[...document.querySelectorAll("th.dev button")].find(b => b.textContent.includes("Side Door")).click()`, nil)
	p.Until(`document.querySelectorAll("#chart path").length === 2`)
	// The chart of a screenshot must have a few steps.
	p.Until(`(document.querySelector("#chart path")?.getAttribute("d").match(/L/g) || []).length >= 3`)
	var width int
	for _, v := range []struct {
		name string
		view webtest.View
	}{
		{"page-light.png", webtest.View{Width: 1280, Height: 1500}},
		{"page-dark.png", webtest.View{Width: 1280, Height: 1500, Dark: true}},
		{"page-phone.png", webtest.View{Width: 390, Height: 1400, Mobile: true, Scale: 1.5}},
	} {
		p.Look(v.view)
		p.Eval(`document.activeElement.blur(); window.scrollTo(0, 0)`, nil)
		p.Until(`document.getElementById("live").textContent === "live" && document.getElementById("chart").firstChild.viewBox.baseVal.width <= innerWidth`)
		p.Eval(`document.documentElement.scrollWidth`, &width)
		if width > v.view.Width {
			t.Errorf("%s: the page is %d pixels wide, the screen %d", v.name, width, v.view.Width)
		}
		dir := t.TempDir()
		if *write {
			dir = filepath.Join("..", "..", "docs")
		}
		if n := p.Screenshot(filepath.Join(dir, v.name), false); n < 10<<10 || n > maxScreenshot {
			t.Errorf("%s has %d bytes", v.name, n)
		}
	}
}

// connect has an ordinary client connect to a device, so that a slot is in use.
func connect(t *testing.T, bus, device string) {
	t.Helper()
	conn, err := dbus.Connect(bus)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.Object("org.bluez", "/org/bluez/hci0").Call("org.bluez.Adapter1.StartDiscovery", 0).Err; err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(harness.Limit); ; time.Sleep(100 * time.Millisecond) {
		err = conn.Object("org.bluez", dbus.ObjectPath(device)).Call("org.bluez.Device1.Connect", 0).Err
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s cannot be connected to: %v", device, err)
		}
	}
}
