package link

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"bluez-esphome/tests/harness"
)

// TestKeysStayHidden runs the daemon with keys from every source, right ones and wrong ones, and looks for them in all that it
// shows.
func TestKeysStayHidden(t *testing.T) {
	t.Parallel()
	keys := map[string][32]byte{}
	for i, name := range []string{"inline", "file", "credential", "wrong"} {
		k := [32]byte{31: byte(i + 1)}
		for j := range 31 {
			k[j] = byte(0x41 + (j*7+i*13)%26) // letters: a raw key would be text in a log
		}
		keys[name] = k
	}
	text := func(name string) string { k := keys[name]; return base64.StdEncoding.EncodeToString(k[:]) }
	_, addrs := harness.Simulate(t, "",
		"inline=127.0.0.1:0,psk="+text("inline"), "file=127.0.0.1:0,psk="+text("file"), "credential=127.0.0.1:0,psk="+text("credential"),
		"wrong=127.0.0.1:0,psk="+text("inline"), "plain=127.0.0.1:0")
	place := harness.NewPlace(t)
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(place.Dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(place.Dir, "credentials"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("file.key", text("file")+"\n")
	write("credentials/garage-key", text("credential"))
	write("config.yaml", fmt.Sprintf(`
log: {level: debug}
proxies:
  - {name: inline, address: %q, noise_psk: %q}
  - {name: file, address: %q, noise_psk_file: file.key}
  - {name: credential, address: %q, noise_psk_file: garage-key}
  - {name: wrong, address: %q, noise_psk: %q}
  - {name: plain, address: %q, noise_psk: %q}
`, addrs["inline"], text("inline"), addrs["file"], addrs["credential"], addrs["wrong"], text("wrong"), addrs["plain"], text("wrong")))
	env := append(place.Env(), "CREDENTIALS_DIRECTORY="+filepath.Join(place.Dir, "credentials"))
	config := filepath.Join(place.Dir, "config.yaml")
	d := harness.Start(t, env, harness.Binary(), "run", "--config", config, "--bus", "private")
	bus := &harness.Bus{Address: d.Out.Expect(t, `(?m)^DBUS_SYSTEM_BUS_ADDRESS=(\S+)$`)[1], Daemon: d}

	var shown bytes.Buffer
	conn := bus.Connect(t)
	states := map[string]string{}
	deadline := time.Now().Add(limit)
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		var objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant
		if err := conn.Object("org.bluez", "/").Call("org.freedesktop.DBus.ObjectManager.GetManagedObjects", 0).Store(&objects); err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			if p, ok := o["org.bluez_esphome.Proxy1"]; ok {
				states[p["Name"].Value().(string)] = p["State"].Value().(string)
			}
		}
		fmt.Fprintf(&shown, "%v\n", objects)
		if fmt.Sprint(states) == "map[credential:online file:online inline:online plain:offline wrong:auth-failed]" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("states %v\n%s", states, d.Err.String())
		}
	}
	for _, args := range [][]string{
		{"status", "--json"}, {"status"}, {"devices", "--json"}, {"check", "--config", config},
		{"discover", "--interface", "lo", "--timeout", "300ms", "--json", "--config", config},
		{"discover", "--interface", "lo", "--timeout", "300ms", "--psk-file", filepath.Join(place.Dir, "file.key")},
		{"discover", "--psk-file", config}, // an error about a key
	} {
		cmd := exec.Command(harness.Binary(), args...)
		cmd.Env = append(append(os.Environ(), env...), bus.Env()...)
		out, _ := cmd.CombinedOutput() // the last one fails
		shown.Write(out)
	}
	shown.WriteString(d.Out.String() + d.Err.String())
	if !strings.Contains(shown.String(), "refused the encryption key") || !strings.Contains(d.Err.String(), "level=DEBUG") {
		t.Error("what was to be searched is not there")
	}
	err := filepath.WalkDir(filepath.Join(place.Dir, "state"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		shown.Write(b)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for name, k := range keys {
		for form, b := range map[string][]byte{
			"base64": []byte(strings.TrimRight(text(name), "=")), "raw": k[:31], "hex": []byte(hex.EncodeToString(k[:])),
			"decimal": []byte(strings.Trim(fmt.Sprint(k[:8]), "[]")), "URL base64": []byte(base64.RawURLEncoding.EncodeToString(k[:])),
		} {
			if bytes.Contains(bytes.ToLower(shown.Bytes()), bytes.ToLower(b)) {
				t.Errorf("the key %s is shown as %s", name, form)
			}
		}
	}
	fmt.Printf("keys: %d in %d bytes of logs, properties, state and output: none shown\n", len(keys), shown.Len())
}
