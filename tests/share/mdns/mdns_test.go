package mdns

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// limit is how long a test waits for anything: far longer than it takes.
const limit = 4 * time.Minute

const ourAddr, otherAddr = "10.99.8.1", "10.99.8.2"

// in starts a process in a namespace.
func in(t *testing.T, ns, name string, args ...string) *harness.Proc {
	t.Helper()
	return harness.Start(t, harness.NewPlace(t).Env(), "ip", append([]string{"netns", "exec", ns, name}, args...)...)
}

// found is a line of browse.py.
type found struct {
	Ev, Name, Host string
	Port           int
	Addresses      []string
	Text           map[string]string
}

// TestAnnounced: a shared proxy is found by python-zeroconf, by ESPHome's own tool and by discover, says what Home
// Assistant wants to know, works at the place it names, and says goodbye when the program ends.
func TestAnnounced(t *testing.T) {
	t.Parallel()
	ours, other := harness.Cable(t, []string{ourAddr}, []string{otherAddr})
	key := base64.StdEncoding.EncodeToString([]byte("the key of the shared proxies ok"))
	sim := in(t, ours, harness.Binary(), "simulate", "--proxy", "kitchen=127.0.0.1:6053")
	sim.Out.Expect(t, `proxy kitchen listens on (\S+)`)
	dir := harness.NewPlace(t).Dir
	config, keyFile := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "share.key")
	for path, content := range map[string]string{
		keyFile: key,
		config:  "proxies:\n  - {name: kitchen, address: 127.0.0.1}\nshare: {listen: 0.0.0.0, noise_psk_file: share.key}\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	python := harness.Python(t)
	browser := in(t, other, python, harness.Path(t, "tests", "share", "mdns", "browse.py"))
	browser.Out.Expect(t, "looking")
	tool := in(t, other, filepath.Join(filepath.Dir(python), "aioesphomeapi-discover"))
	daemon := in(t, ours, harness.Binary(), "run", "--config", config, "--bus", "private")
	daemon.Out.Expect(t, `(?m)^DBUS_SYSTEM_BUS_ADDRESS=(\S+)$`)

	var f found
	line := browser.Out.Expect(t, `(?m)^(\{"ev": "(?:found|unresolved)".*)$`)[1]
	if err := json.Unmarshal([]byte(line), &f); err != nil {
		t.Fatal(err)
	}
	mac := f.Text["mac"]
	if !regexp.MustCompile(`^[0-9a-f][26ae][0-9a-f]{10}$`).MatchString(mac) {
		t.Errorf("the MAC %q is not twelve digits of a made-up address", mac)
	}
	want := found{
		Ev: "found", Name: "kitchen-shared._esphomelib._tcp.local.", Host: "kitchen-shared.local.", Port: 16053,
		Text: map[string]string{
			"friendly_name": "kitchen", "version": proxysim.DefaultVersion, "mac": mac, "platform": "ESP32",
			"board": f.Text["board"], "network": "wifi", "api_encryption": "Noise_NNpsk0_25519_ChaChaPoly_SHA256",
		},
	}
	addresses := f.Addresses
	f.Addresses = nil
	if d := cmp.Diff(want, f); d != "" {
		t.Errorf("announced (-want +got):\n%s", d)
	}
	if len(addresses) == 0 || addresses[0] != ourAddr {
		t.Errorf("addresses %v, want %s first", addresses, ourAddr)
	}
	for _, a := range addresses {
		if strings.HasPrefix(a, "127.") || a == "::1" {
			t.Errorf("a loopback address is announced: %v", addresses)
		}
	}
	tool.Out.Expect(t, `(?m)^ONLINE *\|kitchen-shared *\|`+ourAddr+` *\|`+mac+` *\|`+regexp.QuoteMeta(proxysim.DefaultVersion))

	// What discover makes of it, which also asks the device.
	d := in(t, other, harness.Binary(), "discover", "--json", "--timeout", "5s", "--psk-file", keyFile)
	if status := d.Wait(t, limit); status != 0 {
		t.Fatalf("discover: exit status %d", status)
	}
	var list []struct {
		Name, MAC, Error string
		Encrypted        bool
		Shared           bool
		Configuration    string
		Proxy            *bool `json:"bluetooth_proxy"`
	}
	if err := json.Unmarshal([]byte(d.Out.String()), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Name != "kitchen-shared" || !list[0].Encrypted || list[0].Proxy == nil || !*list[0].Proxy ||
		strings.ToLower(strings.ReplaceAll(list[0].MAC, ":", "")) != mac ||
		!list[0].Shared || !strings.Contains(list[0].Configuration, "not both") {
		t.Errorf("discover: %+v", list)
	}

	daemon.Signal(t, syscall.SIGTERM)
	browser.Out.Expect(t, `"ev": "gone", "name": "kitchen-shared\._esphomelib`)
	tool.Out.Expect(t, `(?m)^OFFLINE *\|kitchen-shared`)
}
