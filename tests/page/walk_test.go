package page

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"bluez-esphome/internal/advice/advicetest"
	"bluez-esphome/internal/web/webtest"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

// home is a simulated house with the program and its page.
type home struct {
	*harness.Bus
	house *advicetest.House
	url   string
	hears map[string]int // how many devices each proxy hears
}

// Devices of a home with a part in the test.
const (
	answers = "Device 000" // a program is connected to it
	deaf    = "Device 001" // no attempt to connect is answered
	decoded = "Device 002" // advertises BTHome
)

const gone = "shed" // a proxy that is configured and offline

func address(i int) string { return fmt.Sprintf("C8:2B:96:23:%02X:%02X", i>>8, i&255) }

func room(i int) string { return fmt.Sprintf("room-%02d", i) }

// newHome starts a home with that number of proxies and devices. Its configuration names one more proxy, which is
// offline, and the file on disk has a mistake.
func newHome(t *testing.T, proxies, devices int) *home {
	t.Helper()
	h := &home{house: advicetest.New(23, devices), hears: make(map[string]int)}
	h.house.Proxies = h.house.Proxies[:proxies]
	place := harness.NewPlace(t)
	file := filepath.Join(place.Dir, "peripherals.json")
	if err := os.WriteFile(file, h.peripherals(t), 0o600); err != nil {
		t.Fatal(err)
	}
	var specs []string
	for i := range proxies {
		specs = append(specs, room(i)+"=127.0.0.1:0")
	}
	_, addrs := harness.Simulate(t, file, specs...)
	port := harness.FreePort(t)
	var c strings.Builder
	fmt.Fprintf(&c, "http: {listen: \"127.0.0.1:%d\"}\nproxies:\n", port)
	for i := range proxies {
		fmt.Fprintf(&c, "  - {name: %s, address: \"%s\"}\n", room(i), addrs[room(i)])
	}
	fmt.Fprintf(&c, "  - {name: %s, address: \"127.0.0.1:%d\"}\n", gone, harness.FreePort(t))
	h.Bus = place.Run(t, c.String())
	h.url = fmt.Sprintf("http://127.0.0.1:%d/", port)
	if err := os.WriteFile(filepath.Join(place.Dir, "config.yaml"), []byte(c.String()+"nonsense: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.Daemon.Signal(t, syscall.SIGHUP)
	return h
}

// peripherals makes the simulator's file of devices. The proxies hear each device as strongly as they do in the house.
func (h *home) peripherals(t *testing.T) []byte {
	type object = map[string]any
	var list []object
	for i, d := range h.house.Devices {
		rssi := object{}
		for p, v := range h.house.Heard(d) {
			rssi[room(p)] = int(v)
		}
		if len(rssi) == 0 { // the page would not show a device that no proxy hears
			rssi[room(0)] = -94
		}
		for p := range rssi {
			h.hears[p]++
		}
		name := fmt.Sprintf("Device %03d", i)
		dev := object{
			"id": fmt.Sprintf("d%03d", i), "address": address(i), "address_type": "random", "connectable": true, "rssi": rssi, "rssi_jitter": 2,
			"advertisement": object{"flags": 6, "local_name": name, "interval_ms": 1500},
		}
		switch name {
		case answers:
			dev["gatt"] = object{"services": []object{{"uuid": "180f", "characteristics": []object{{"uuid": "2a19", "properties": []string{"read"}, "value": "64"}}}}}
		case deaf:
			fails := object{}
			for p := range h.house.Proxies {
				fails[room(p)] = 0x85
			}
			dev["connect_error"] = fails
		case decoded:
			dev["advertisement"].(object)["service_data"] = object{"fcd2": "40015502ca09"}
		}
		list = append(list, dev)
	}
	b, err := json.Marshal(object{"devices": list})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// settled waits until every proxy has heard its devices: before that, the page may advise a new proxy beside one whose
// session has just begun.
func (h *home) settled(t *testing.T) {
	h.Client(t).Eventually("every proxy has heard each of its devices about three times", func() bool {
		res, err := http.Get(h.url + "metrics")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			return false
		}
		heard := make(map[string]float64)
		for _, m := range advertsTotal.FindAllStringSubmatch(string(b), -1) {
			heard[m[1]], _ = strconv.ParseFloat(m[2], 64)
		}
		for proxy, devices := range h.hears {
			if heard[proxy] < float64(3*devices) {
				return false
			}
		}
		return true
	})
}

var advertsTotal = regexp.MustCompile(`(?m)^bluez_esphome_proxy_adverts_total\{[^}]*proxy="([^"]*)"[^}]*\} (\S+)$`)

// connect has a program connect to the device that answers and to the one that does not.
func (h *home) connect(t *testing.T) {
	c := h.Client(t)
	c.Call("/org/bluez/hci0", "org.bluez.Adapter1.StartDiscovery")
	path := func(i int) dbus.ObjectPath {
		return dbus.ObjectPath("/org/bluez/hci0/dev_" + strings.ReplaceAll(address(i), ":", "_"))
	}
	for i := range 2 {
		c.Eventually("the device is on the bus", func() bool { return c.Get(path(i), "org.bluez.Device1", "Address") != nil })
	}
	c.Call(path(0), "org.bluez.Device1.Connect")
	if err := c.Try(path(1), "org.bluez.Device1.Connect").Err; err == nil {
		t.Fatal("a device that does not answer was connected")
	}
	c.Call("/org/bluez/hci0", "org.bluez.Adapter1.StopDiscovery")
}

// findDriver gives the path of Chromium. It skips the test, and says what is missing, if Chromium or a module is.
func findDriver(t *testing.T) string {
	t.Helper()
	browser := webtest.Find(t)
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed (apt install nodejs npm)")
	}
	for _, module := range []string{"playwright-core", "axe-core"} {
		if _, err := os.Stat(filepath.Join("node", "node_modules", module)); err != nil {
			t.Skip(module + " is not installed (make test does it where npm is)")
		}
	}
	return browser
}

// walked is the last line that walk.mjs prints.
type walked struct {
	Advice string
	Bytes  float64 // of an event with changes; there is one each second
	Main   float64 // the CPU time of the page's main thread, as a part of a core
}

// TestWalk runs walk.mjs, which uses the page in a real browser: with 300 devices that 12 proxies hear, and by night
// also with 7 devices. BLUEZ_ESPHOME_SHOTS names a folder for screenshots.
func TestWalk(t *testing.T) {
	browser := findDriver(t)
	for _, c := range []struct{ proxies, devices int }{{3, 7}, {12, 300}} {
		t.Run(fmt.Sprint(c.devices), func(t *testing.T) {
			if c.devices < 300 {
				harness.OnlyNightly(t)
			}
			h := newHome(t, c.proxies, c.devices)
			h.settled(t)
			h.connect(t)
			what, err := json.Marshal(map[string]any{
				"browser": browser, "devices": c.devices, "offline": gone, "connected": answers, "failed": deaf, "seconds": 10,
				"decoded": map[string]any{"name": decoded, "words": []string{"BTHome, battery 85 %, temperature 25.06 °C"}}, "shots": os.Getenv("BLUEZ_ESPHOME_SHOTS"),
			})
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "node", "walk.mjs", h.url, string(what))
			out, err := cmd.CombinedOutput()
			text := strings.TrimSpace(string(out))
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			var w walked
			if err := json.Unmarshal([]byte(text[strings.LastIndexByte(text, '\n')+1:]), &w); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			t.Logf("the stream: %.1f kB/s, the page's main thread: %.1f %% of a core", w.Bytes/1000, 100*w.Main)
			if w.Bytes > 10_000 {
				t.Errorf("the stream has %.0f bytes a second, more than 10,000", w.Bytes)
			}
			if c.devices == 300 {
				h.check(t, w.Advice)
			}
		})
	}
}

var (
	spotLine = regexp.MustCompile(`A new proxy would serve most beside Device (\d+)`)
	lossLine = regexp.MustCompile(`The loss of room-(\d+) would hurt most`)
)

// check compares the advice of the page with the best advice for the house.
func (h *home) check(t *testing.T, advice string) {
	t.Helper()
	number := func(re *regexp.Regexp) (n int) {
		m := re.FindStringSubmatch(advice)
		if m == nil {
			t.Fatalf("%v is not in the advice: %s", re, advice)
		}
		_, _ = fmt.Sscanf(m[1], "%d", &n)
		return n
	}
	if lost, most := h.house.Lost(number(lossLine)), h.house.MostLost(); lost < most*9/10-1 {
		t.Errorf("without the proxy that the page names %d devices are lost, without another %d: %s", lost, most, advice)
	}
	if won, most := h.house.Won(h.house.Devices[number(spotLine)]), h.house.MostWon(); won < most*8/10 {
		t.Errorf("a proxy at the spot that the page names serves %d devices more, at the best place %d: %s", won, most, advice)
	}
}
