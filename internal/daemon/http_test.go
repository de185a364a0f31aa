package daemon_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/daemon"
	"bluez-esphome/internal/dbusobj/dbustest"

	"github.com/godbus/dbus/v5"
)

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// The listener tells of what a real client does through a real proxy, and nothing that is secret.
func TestHTTP(t *testing.T) {
	addrs := simulate(t, "kitchen")
	bus := dbustest.Start(t)
	cfg := configOf(t, bus, addrs, "kitchen")
	cfg.HTTP.Listen = "127.0.0.1:0"
	d, _ := run(t, cfg)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	url := d.HTTP()
	for _, path := range []string{"healthz", "readyz"} {
		if code, body := fetch(t, url+path); code != 200 {
			t.Errorf("/%s: %d %s", path, code, body)
		}
	}
	client, err := dbus.Connect(bus)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Object("org.bluez", "/org/bluez/hci0").Call("org.bluez.Adapter1.StartDiscovery", 0).Err; err != nil {
		t.Fatal(err)
	}
	device := client.Object("org.bluez", "/org/bluez/hci0/dev_C8_2B_96_10_00_01")
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		err = device.Call("org.bluez.Device1.Connect", 0).Err
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	_, metrics := fetch(t, url+"metrics")
	value := func(name string) float64 {
		t.Helper()
		m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(metrics)
		if m == nil {
			t.Errorf("%s is not there", name)
			return 0
		}
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Error(err)
		}
		return v
	}
	for name, least := range map[string]float64{
		`bluez_esphome_proxy_adverts_total{proxy="kitchen"}`: 1, `bluez_esphome_proxy_received_bytes_total{proxy="kitchen"}`: 100,
		`bluez_esphome_proxy_sent_bytes_total{proxy="kitchen"}`: 20, `bluez_esphome_proxy_sessions_total{proxy="kitchen"}`: 1,
		`bluez_esphome_proxy_state{proxy="kitchen",state="online"}`: 1, `bluez_esphome_proxy_links{proxy="kitchen"}`: 1,
		`bluez_esphome_connect_seconds_count{result="ok"}`: 1, `bluez_esphome_advert_signal_seconds_count`: 1, `bluez_esphome_air_devices`: 1,
		`bluez_esphome_dbus_calls_total{interface="org.bluez.Adapter1",method="StartDiscovery"}`: 1,
		`bluez_esphome_dbus_calls_total{interface="org.bluez.Device1",method="Connect"}`:         1,
	} {
		if got := value(name); got < least {
			t.Errorf("%s is %v", name, got)
		}
	}
	var snap struct {
		Proxies []struct {
			Name  string
			Slots []struct {
				Address, Name, State string
				Owners               []string
			}
		}
		List []struct {
			Address   string
			Connected bool
		}
	}
	_, body := fetch(t, url+"api/snapshot")
	if err := json.Unmarshal([]byte(body), &snap); err != nil {
		t.Fatal(err)
	}
	if len(snap.Proxies) != 1 || len(snap.Proxies[0].Slots) != 1 || snap.Proxies[0].Slots[0].Name != "Pulse HR-1" || snap.Proxies[0].Slots[0].State != "connected" ||
		!slices.Equal(snap.Proxies[0].Slots[0].Owners, []string{"D-Bus"}) {
		t.Errorf("the proxies are %+v", snap.Proxies)
	}
	connected := 0
	for _, d := range snap.List {
		if d.Connected && d.Address == "C8:2B:96:10:00:01" {
			connected++
		}
	}
	if connected != 1 {
		t.Errorf("the device is connected %d times in %+v", connected, snap.List)
	}
}

// Without http.listen there is no listener; one that cannot be had is said at the start.
func TestHTTPOff(t *testing.T) {
	bus := dbustest.Start(t)
	d, _ := run(t, configOf(t, bus, nil))
	if got := d.HTTP(); got != "" {
		t.Errorf("a listener at %s", got)
	}
	cfg := configOf(t, bus, nil)
	cfg.HTTP.Listen = "192.0.2.1:9551" // nobody's
	err := daemon.New(daemon.Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)}).Run(context.Background())
	if err == nil || !strings.Contains(err.Error(), "cannot listen for HTTP on 192.0.2.1:9551") {
		t.Errorf("the daemon ended with %v", err)
	}
}
