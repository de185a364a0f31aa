package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/proxysim"
)

// provisioned runs provision on a configuration with one proxy, and gives what it printed and where the key would be.
func provisioned(t *testing.T, addr string) (out, file string, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "my.yaml")
	if err := os.WriteFile(path, []byte("proxies: [{name: kitchen, address: \""+addr+"\"}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	root := newRoot()
	root.SetOut(&text)
	root.SetErr(&text)
	root.SetArgs([]string{"provision", "kitchen", "--config", path})
	err = root.ExecuteContext(t.Context())
	return text.String(), filepath.Join(filepath.Dir(path), "kitchen.key"), err
}

// A device that waits for its key gets one, which is in a file of its owner's and printed nowhere.
func TestProvision(t *testing.T) {
	sim, addrs := simulate(t, proxysim.ProxySpec{Listen: "127.0.0.1:0", ProxyConfig: proxysim.ProxyConfig{Name: "kitchen", Access: proxysim.Access{Unprovisioned: true}}},
		proxysim.ProxySpec{Listen: "127.0.0.1:0", ProxyConfig: proxysim.ProxyConfig{Name: "plain"}})
	out, file, err := provisioned(t, addrs["kitchen"])
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("the file of the key: %v, %v", info, err)
	}
	text, _ := os.ReadFile(file)
	key, err := apiwire.ParsePSK(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, strings.TrimSpace(string(text))) || !strings.Contains(out, "noise_psk_file: "+file) {
		t.Errorf("it printed %q", out)
	}
	deadline := time.Now().Add(time.Minute)
	for sim.Proxy("kitchen").Key() == nil && time.Now().Before(deadline) {
		<-time.After(10 * time.Millisecond)
	}
	if got := sim.Proxy("kitchen").Key(); got == nil || *got != key {
		t.Error("the device has another key than the file")
	}
	// No key file is left behind where nothing came of it: the device has a key by now; takes none; is not there.
	for what, addr := range map[string]string{"has one": addrs["kitchen"], "takes none": addrs["plain"], "not there": unused(t)} {
		if out, file, err := provisioned(t, addr); err == nil {
			t.Errorf("%s: %s", what, out)
		} else if _, err := os.Stat(file); err == nil {
			t.Errorf("%s: a key is left behind", what)
		}
	}
}

// A file that is there is another key's.
func TestProvisionKeepsKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kitchen.key")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := newRoot()
	root.SetOut(new(bytes.Buffer))
	conf := filepath.Join(filepath.Dir(path), "my.yaml")
	if err := os.WriteFile(conf, []byte("proxies: [{name: kitchen, address: \"127.0.0.1:1\"}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root.SetArgs([]string{"provision", "kitchen", "--config", conf})
	if err := root.ExecuteContext(context.Background()); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Error(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("the file has %q", b)
	}
}

// unused is an address on which nobody listens.
func unused(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
