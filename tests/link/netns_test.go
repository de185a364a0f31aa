package link

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"bluez-esphome/tests/harness"
)

// Addresses in the two network namespaces of TestNames.
const (
	simNet    = "10.99.7."
	simAddr   = simNet + "1"
	movedAddr = simNet + "3"
	ourAddr   = simNet + "2"
)

// TestNames: local names, auto_add, a proxy that returns with another address, and discover, on a network of their own.
func TestNames(t *testing.T) {
	t.Parallel()
	sim, ours := harness.Cable(t, []string{simAddr, movedAddr}, []string{ourAddr})
	secret := base64.StdEncoding.EncodeToString(key[:])
	simulate := func(kitchen string) *harness.Proc {
		p := harness.Start(t, harness.NewPlace(t).Env(), "ip", "netns", "exec", sim, harness.Binary(), "simulate", "--mdns",
			"--proxy", "kitchen="+kitchen+":6053", "--proxy", "garage="+simAddr+":6054,psk="+secret)
		p.Out.Expect(t, `proxy garage listens on (\S+)`)
		return p
	}
	proxies := simulate(simAddr)
	place := harness.NewPlace(t)
	config := filepath.Join(place.Dir, "config.yaml")
	keyFile := filepath.Join(place.Dir, "proxies.key")
	for path, content := range map[string]string{
		keyFile: secret,
		config:  "proxies:\n  - {name: kitchen, address: Kitchen.local.}\nauto_add: {noise_psk_file: proxies.key}\nlog: {level: debug}\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := harness.Start(t, place.Env(), "ip", "netns", "exec", ours, harness.Binary(), "run", "--config", config, "--bus", "private")
	bus := &harness.Bus{Address: d.Out.Expect(t, `(?m)^DBUS_SYSTEM_BUS_ADDRESS=(\S+)$`)[1], Daemon: d}
	conn := bus.Connect(t)
	await := func(want string) time.Time {
		t.Helper()
		deadline := time.Now().Add(limit)
		for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
			var objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant
			if err := conn.Object("org.bluez", "/").Call("org.freedesktop.DBus.ObjectManager.GetManagedObjects", 0).Store(&objects); err != nil {
				t.Fatal(err)
			}
			states := map[string]string{}
			for _, o := range objects {
				if p, ok := o["org.bluez_esphome.Proxy1"]; ok {
					state := p["State"].Value().(string)
					if strings.HasPrefix(want, "map[garage:away") && (state == "offline" || state == "connecting") {
						state = "away"
					}
					states[p["Name"].Value().(string)] = state
				}
			}
			if fmt.Sprint(states) == want {
				return time.Now()
			}
			if time.Now().After(deadline) {
				t.Fatalf("states %v, want %s\n%s", states, want, d.Err.String())
			}
		}
	}
	await("map[garage:online kitchen:online]")

	discover := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("ip", append([]string{"netns", "exec", ours, harness.Binary(), "discover", "--timeout", "1500ms"}, args...)...).Output()
		if err != nil {
			t.Fatalf("discover: %v", err)
		}
		return string(out)
	}
	var list []found
	if err := json.Unmarshal([]byte(discover("--json", "--psk-file", keyFile)), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Name != "garage" || !list[0].Encrypted || list[0].Proxy == nil || !*list[0].Proxy || len(list[0].Features) != 8 ||
		list[1].Address != "kitchen.local:6053" || list[1].Version != "2026.10.0" || list[1].Proxy == nil || len(list[1].Addresses) == 0 || list[1].Addresses[0] != simAddr {
		t.Errorf("discovered %+v", list)
	}
	text := discover("--config", config)
	if !strings.Contains(text, "(configured)") || !strings.Contains(text, `- {name: "garage", address: "garage.local:6054", mac: "`) || !strings.Contains(text, `noise_psk_file: "garage.key"}`) {
		t.Errorf("discover prints\n%s", text)
	}
	checkPaste(t, text)

	// The proxies go offline, the pauses between attempts grow, and the proxies come back, one of them at another
	// address.
	proxies.Signal(t, syscall.SIGTERM)
	proxies.Wait(t, limit)
	await("map[garage:away kitchen:away]")
	time.Sleep(6 * time.Second)
	begun := time.Now()
	proxies = simulate(movedAddr)
	// The time depends on the machine. That an announcement ends the pause is tested in fake time (internal/apiconn).
	took := await("map[garage:online kitchen:online]").Sub(begun)
	fmt.Printf("names: two proxies back %v after they were started anew, one on another address\n", took.Round(10*time.Millisecond))
	results.add(row{order: 200, fault: "gone for 6 s and more, back on another address, found by mDNS", where: "network namespaces", err: "apiconn.ClosedError", recovered: took,
		note: "two processes; measured from the start of the simulated proxies' process, which announces them"})
	proxies.Signal(t, syscall.SIGTERM)
	proxies.Wait(t, limit)
	if text := discover(); !strings.Contains(text, "No ESPHome device was found") {
		t.Errorf("with nothing there discover prints\n%s", text)
	}
}

// found is what discover --json prints of a device.
type found struct {
	Name      string   `json:"name"`
	Address   string   `json:"address"`
	Addresses []string `json:"addresses"`
	Version   string   `json:"version"`
	Encrypted bool     `json:"encrypted"`
	Proxy     *bool    `json:"bluetooth_proxy"`
	Features  []string `json:"bluetooth_features"`
}

// checkPaste lets the program check what discover printed as a configuration.
func checkPaste(t *testing.T, text string) {
	t.Helper()
	_, lines, ok := strings.Cut(text, "\nproxies:\n")
	if !ok {
		t.Errorf("no configuration in\n%s", text)
		return
	}
	dir := t.TempDir()
	for name, content := range map[string]string{"config.yaml": "proxies:\n" + lines, "garage.key": base64.StdEncoding.EncodeToString(key[:])} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(harness.Binary(), "check", "--config", filepath.Join(dir, "config.yaml")).CombinedOutput(); err != nil {
		t.Errorf("what discover prints is no configuration: %v\n%s", err, out)
	}
}
