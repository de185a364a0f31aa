package link

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
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

const password = "correct-horse-battery"

// secretKeys are the keys, by the source from which the daemon reads them.
type secretKeys map[string][32]byte

func newSecretKeys() secretKeys {
	keys := secretKeys{}
	for i, name := range []string{"inline", "file", "credential", "wrong", "shared"} {
		k := [32]byte{31: byte(i + 1)}
		for j := range 31 {
			k[j] = byte(0x41 + (j*7+i*13)%26) // letters: a raw key would be text in a log
		}
		keys[name] = k
	}
	return keys
}

// text is a key as configurations have it.
func (keys secretKeys) text(name string) string {
	k := keys[name]
	return base64.StdEncoding.EncodeToString(k[:])
}

// shownIn searches a text for the keys, in any form, and for the password.
func (keys secretKeys) shownIn(t *testing.T, text []byte) {
	t.Helper()
	text = bytes.ToLower(text)
	if bytes.Contains(text, []byte(password)) {
		t.Error("the password is shown")
	}
	for name, k := range keys {
		for form, b := range map[string][]byte{
			"base64": []byte(strings.TrimRight(keys.text(name), "=")), "raw": k[:31], "hex": []byte(hex.EncodeToString(k[:])),
			"decimal": []byte(strings.Trim(fmt.Sprint(k[:8]), "[]")),
			"trace":   fmt.Appendf(nil, "%#x, %#x, %#x, %#x, %#x", k[0], k[1], k[2], k[3], k[4]), "URL base64": []byte(base64.RawURLEncoding.EncodeToString(k[:])),
		} {
			if bytes.Contains(text, bytes.ToLower(b)) {
				t.Errorf("the key %s is shown as %s", name, form)
			}
		}
	}
}

// secretConfigs writes configurations with the keys: a good one, one with mistakes, and one, with a key file, that
// everybody may read.
func secretConfigs(t *testing.T, dir string, keys secretKeys, addrs map[string]string, page string) {
	t.Helper()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "credentials"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("file.key", keys.text("file")+"\n")
	write("credentials/garage-key", keys.text("credential"))
	write("config.yaml", fmt.Sprintf(`
log: {level: debug}
http: {listen: "%s"}
share: {listen: 127.0.0.1, base_port: %d, noise_psk: %q}
proxies:
  - {name: inline, address: %q, noise_psk: %q}
  - {name: file, address: %q, noise_psk_file: file.key}
  - {name: credential, address: %q, noise_psk_file: garage-key}
  - {name: wrong, address: %q, noise_psk: %q}
  - {name: plain, address: %q, noise_psk: %q}
  - {name: login, address: %q, password: %q}
  - {name: refused, address: %q, password: %q}
`, page, harness.FreePort(t), keys.text("shared"), addrs["inline"], keys.text("inline"), addrs["file"], addrs["credential"],
		addrs["wrong"], keys.text("wrong"), addrs["plain"], keys.text("wrong"), addrs["login"], password, addrs["refused"], password))
	write("mistakes.yaml", fmt.Sprintf("proxies: [{address: a, noise_psk: %s, password: [%s]}, {address: b, noise_psk: %q, noise_psk_file: file.key, nonsense: %q}]\n",
		keys.text("inline")[:40], password, keys.text("inline"), keys.text("inline")))
	write("readable.yaml", fmt.Sprintf("proxies: [{address: a, noise_psk: %q, password: %s}]\n", keys.text("inline"), password))
	write("readable.key", keys.text("file"))
	for _, name := range []string{"readable.yaml", "readable.key"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitStates waits until the proxies are in these states, and writes everything that the bus shows meanwhile.
func awaitStates(t *testing.T, conn *dbus.Conn, want string, to *bytes.Buffer) {
	t.Helper()
	states := map[string]string{}
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		var objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant
		if err := conn.Object("org.bluez", "/").Call("org.freedesktop.DBus.ObjectManager.GetManagedObjects", 0).Store(&objects); err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			if p, ok := o["org.bluez_esphome.Proxy1"]; ok {
				states[p["Name"].Value().(string)] = p["State"].Value().(string)
			}
		}
		fmt.Fprintf(to, "%v\n", objects)
		if fmt.Sprint(states) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("states %v", states)
		}
	}
}

// TestKeysStayHidden runs the daemon with keys from every source, right ones and wrong ones, and looks for them in all
// that it shows.
func TestKeysStayHidden(t *testing.T) {
	t.Parallel()
	keys := newSecretKeys()
	page := fmt.Sprint("127.0.0.1:", harness.FreePort(t))
	_, addrs := harness.Simulate(t, "",
		"inline=127.0.0.1:0,psk="+keys.text("inline"), "file=127.0.0.1:0,psk="+keys.text("file"), "credential=127.0.0.1:0,psk="+keys.text("credential"),
		"wrong=127.0.0.1:0,psk="+keys.text("inline"), "plain=127.0.0.1:0",
		"login=127.0.0.1:0,version=2025.8.0,password="+password, "refused=127.0.0.1:0,version=2025.8.0,password=another")
	place := harness.NewPlace(t)
	secretConfigs(t, place.Dir, keys, addrs, page)
	at := func(name string) string { return filepath.Join(place.Dir, name) }
	env := append(place.Env(), "BLUEZ_ESPHOME_PPROF=1", "CREDENTIALS_DIRECTORY="+at("credentials"))
	d := harness.Start(t, env, harness.Binary(), "run", "--config", at("config.yaml"), "--bus", "private")
	bus := &harness.Bus{Address: d.Out.Expect(t, `(?m)^DBUS_SYSTEM_BUS_ADDRESS=(\S+)$`)[1], Daemon: d}

	var shown bytes.Buffer
	conn := bus.Connect(t)
	awaitStates(t, conn, "map[credential:online file:online inline:online login:online plain:offline refused:auth-failed wrong:auth-failed]", &shown)
	for _, args := range [][]string{
		{"status", "--json"}, {"status"}, {"devices", "--json"}, {"check", "--config", at("config.yaml")},
		{"discover", "--interface", "lo", "--timeout", "300ms", "--json", "--config", at("config.yaml")},
		{"discover", "--interface", "lo", "--timeout", "300ms", "--psk-file", at("file.key")},
		{"discover", "--psk-file", at("config.yaml")}, // an error about a key
		{"discover", "--psk-file", at("readable.key")},
		{"check", "--config", at("mistakes.yaml")},
		{"check", "--config", at("readable.yaml")},
	} {
		cmd := exec.Command(harness.Binary(), args...)
		cmd.Env = append(append(os.Environ(), env...), bus.Env()...)
		out, _ := cmd.CombinedOutput() // the last ones fail
		shown.Write(out)
	}
	if n := strings.Count(shown.String(), "everybody may read or write it (mode 0644)"); n != 2 {
		t.Errorf("%d of 2 files that everybody may read were refused:\n%s", n, shown.String())
	}
	introspect(t, conn, "/", &shown)
	for _, path := range []string{
		"", "metrics", "api/snapshot", "healthz", "app.js", "debug/pprof/", "debug/pprof/cmdline", "debug/pprof/goroutine?debug=2",
		"debug/pprof/heap?debug=1", "debug/pprof/allocs?debug=1",
	} {
		shown.Write(fetch(t, "http://"+page+"/"+path))
	}
	d.Signal(t, syscall.SIGQUIT) // it prints all goroutines and ends
	d.Wait(t, limit)
	shown.WriteString(d.Out.String() + d.Err.String())
	if !strings.Contains(shown.String(), "refused the encryption key") || !strings.Contains(d.Err.String(), "level=DEBUG") {
		t.Error("what was to be searched is not there")
	}
	err := filepath.WalkDir(at("state"), func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() { // a socket is there, too
			return err
		}
		b, err := os.ReadFile(path)
		shown.Write(b)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	keys.shownIn(t, shown.Bytes())
	fmt.Printf("keys: %d in %d bytes of logs, properties, state and output: none shown\n", len(keys), shown.Len())
}

// introspect writes what everything on the bus says of itself.
func introspect(t *testing.T, conn *dbus.Conn, path dbus.ObjectPath, to *bytes.Buffer) {
	t.Helper()
	obj := conn.Object("org.bluez", path)
	var text string
	if err := obj.Call("org.freedesktop.DBus.Introspectable.Introspect", 0).Store(&text); err != nil {
		t.Fatal(err)
	}
	to.WriteString(text)
	var node struct {
		Interfaces []struct {
			Name string `xml:"name,attr"`
		} `xml:"interface"`
		Nodes []struct {
			Name string `xml:"name,attr"`
		} `xml:"node"`
	}
	if err := xml.Unmarshal([]byte(text), &node); err != nil {
		t.Fatal(err)
	}
	for _, i := range node.Interfaces {
		var all map[string]dbus.Variant
		if err := obj.Call("org.freedesktop.DBus.Properties.GetAll", 0, i.Name).Store(&all); err == nil {
			fmt.Fprintln(to, all)
		}
	}
	for _, n := range node.Nodes {
		introspect(t, conn, dbus.ObjectPath(strings.TrimSuffix(string(path), "/")+"/"+n.Name), to)
	}
}

// fetch gives what the listener answers, whatever the status.
func fetch(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || len(b) == 0 {
		t.Errorf("%s: %s, %d bytes, %v", url, resp.Status, len(b), err)
	}
	return b
}
