package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
)

// tryKey is the key of the proxies that have one.
var tryKey = [32]byte{1, 2, 3}

// simulate runs proxies until the test ends, and gives their addresses by name.
func simulate(t *testing.T, specs ...proxysim.ProxySpec) (*proxysim.Simulation, map[string]string) {
	t.Helper()
	peripherals, err := proxysim.DemoPeripherals()
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range peripherals { // everybody hears everything
		p.RSSI = map[string]int8{}
		for _, spec := range specs {
			p.RSSI[spec.Name] = -60
		}
		peripherals[i] = p
	}
	sim, err := proxysim.New(proxysim.Options{Proxies: specs, Peripherals: peripherals})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sim.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	addrs := map[string]string{}
	for _, p := range sim.Proxies() {
		addrs[p.Name()] = sim.Addr(p.Name()).String()
	}
	return sim, addrs
}

// checkTry runs check --try on the entries and gives what it printed.
func checkTry(t *testing.T, entries ...string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "my.yaml")
	text := "proxies: []\n"
	if len(entries) > 0 {
		text = "proxies:\n  - " + strings.Join(entries, "\n  - ") + "\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetArgs([]string{"check", "--try", file})
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func wantLines(t *testing.T, got string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)^" + p + "$").MatchString(got) {
			t.Errorf("no line matches %q in\n%s", p, got)
		}
	}
}

// host uses a proxy as another program would, and does not care for what it hears.
type host struct{ online chan struct{} }

func (h host) Online(*apiconn.Proxy, apiconn.Info)                                           { close(h.online) }
func (host) Offline(*apiconn.Proxy, error)                                                   {}
func (host) Adverts(*apiconn.Proxy, time.Time, []ble.RawAdvert)                              {}
func (host) ScannerState(*apiconn.Proxy, ble.ScannerState, ble.ScannerMode, ble.ScannerMode) {}
func (host) Slots(*apiconn.Proxy, ble.Slots)                                                 {}
func (host) LinkUp(*apiconn.Proxy, ble.Address, int)                                         {}
func (host) LinkDown(*apiconn.Proxy, ble.Address, int32)                                     {}
func (host) Notification(*apiconn.Proxy, ble.Address, uint16, []byte)                        {}
func (host) PairingChanged(*apiconn.Proxy, ble.Address, bool, int32)                         {}

// subscribe uses a proxy until the test ends.
func subscribe(t *testing.T, addr string, psk *[32]byte) *apiconn.Proxy {
	t.Helper()
	h := host{make(chan struct{})}
	p, err := apiconn.New(apiconn.Config{Address: addr, PSK: psk, Handler: h})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	<-h.online
	return p
}

// TestCheckTry: each proxy is dialled once, and the table says what it is and who is connected through it. Nobody's
// subscription is taken: firmware from 2026.7 would give it to the newest who asks.
func TestCheckTry(t *testing.T) {
	t.Parallel()
	const mac = `([0-9A-F]{2}:){5}[0-9A-F]{2}`
	sim, addrs := simulate(t,
		proxysim.ProxySpec{ProxyConfig: proxysim.ProxyConfig{Name: "kitchen", Access: proxysim.Access{PSK: &tryKey}, Slots: 2}, Listen: "127.0.0.1:0"},
		proxysim.ProxySpec{ProxyConfig: proxysim.ProxyConfig{Name: "garage", Version: "2026.7.0"}, Listen: "127.0.0.1:0"},
		proxysim.ProxySpec{ProxyConfig: proxysim.ProxyConfig{Name: "hall"}, Listen: "127.0.0.1:0"},
		proxysim.ProxySpec{ProxyConfig: proxysim.ProxyConfig{Name: "porch", Version: "2026.8.2"}, Listen: "127.0.0.1:0"},
		proxysim.ProxySpec{ProxyConfig: proxysim.ProxyConfig{Name: "attic", Version: "2024.10.0", Passive: true}, Listen: "127.0.0.1:0"},
	)
	psk := base64.StdEncoding.EncodeToString(tryKey[:])
	user := subscribe(t, addrs["kitchen"], &tryKey)
	subscribe(t, addrs["garage"], nil)
	subscribe(t, addrs["hall"], nil)
	device, err := ble.ParseAddress("C8:2B:96:10:00:01")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := user.Connect(t.Context(), device, ble.Random, false); err != nil {
		t.Fatal(err)
	}
	got, err := checkTry(t, fmt.Sprintf("{address: %q, noise_psk: %q}", addrs["kitchen"], psk),
		fmt.Sprintf("{name: drive, address: %q}", addrs["garage"]), fmt.Sprintf("{name: top, address: %q}", addrs["attic"]),
		fmt.Sprintf("{name: hall, address: %q}", addrs["hall"]), fmt.Sprintf("{name: porch, address: %q}", addrs["porch"]))
	if err != nil {
		t.Errorf("%v\n%s", err, got)
	}
	kitchen := regexp.QuoteMeta(addrs["kitchen"])
	wantLines(t, got,
		`PROXY +NAME +MAC +ESPHOME +BLUETOOTH +KEY +SLOTS +IN USE BY`,
		kitchen+` +kitchen +`+mac+` +2026\.10\.0 +connects, pairs +yes +1/2 used +another host`,
		`drive +garage +`+mac+` +2026\.7\.0 +connects, pairs +no +0/3 used +\?`,
		`top +attic +`+mac+` +2024\.10\.0 +listens +no +- +\?`,
		`hall +hall +`+mac+` +2026\.10\.0 +connects, pairs +no +0/3 used +another host`,
		`porch +porch +`+mac+` +2026\.8\.2 +connects, pairs +no +0/3 used +nobody`,
		`\? no connection is in use; .*`,
		`another host may be a daemon of yours, too: .*`,
		kitchen+`: another host is connected through it to C8:2B:96:10:00:01`,
	)
	for _, p := range sim.Proxies() {
		if want := p.Name() != "attic" && p.Name() != "porch"; p.Subscribed() != want {
			t.Errorf("%s has a subscriber: %v, want %v", p.Name(), p.Subscribed(), want)
		}
	}
}

// TestCheckTryFaults: what cannot be used is said below the table, and gives a status.
func TestCheckTryFaults(t *testing.T) {
	t.Parallel()
	_, addrs := simulate(t,
		proxysim.ProxySpec{ProxyConfig: proxysim.ProxyConfig{Name: "kitchen", Access: proxysim.Access{PSK: &tryKey}}, Listen: "127.0.0.1:0"},
		proxysim.ProxySpec{ProxyConfig: proxysim.ProxyConfig{Name: "new", Access: proxysim.Access{Unprovisioned: true}}, Listen: "127.0.0.1:0"},
	)
	psk := base64.StdEncoding.EncodeToString(tryKey[:])
	other := strings.Replace(addrs["kitchen"], "127.0.0.1", "127.0.0.2", 1) // the same listener is not there
	nobody := "127.0.0.1:1"
	got, err := checkTry(t,
		fmt.Sprintf("{address: %q, noise_psk: %q}", addrs["kitchen"], psk),
		fmt.Sprintf("{name: again, address: %q, noise_psk: %q}", strings.Replace(addrs["kitchen"], "127.0.0.1", "localhost", 1), psk),
		fmt.Sprintf("{name: nobody, address: %q}", nobody),
		fmt.Sprintf("{name: elsewhere, address: %q}", other),
		fmt.Sprintf("{name: new, address: %q}", addrs["new"]),
	)
	if !errors.Is(err, errTries) || !strings.Contains(err.Error(), "3 of 5") {
		t.Errorf("the error is %v", err)
	}
	wantLines(t, got,
		`again: the same device as "`+regexp.QuoteMeta(addrs["kitchen"])+`" \(MAC ([0-9A-F]{2}:){5}[0-9A-F]{2}\): remove one of the two entries`,
		`nobody +- +- +- +failed .*`,
		`nobody: cannot connect to 127\.0\.0\.1:1: .*`,
		`new: it has no encryption key yet: ESPHome 2027\.2 .*`,
	)
	got, err = checkTry(t, fmt.Sprintf("{name: wrong, address: %q, noise_psk: %q}", addrs["kitchen"], strings.Replace(psk, "AQID", "AQIE", 1)),
		fmt.Sprintf("{name: none, address: %q}", strings.Replace(addrs["kitchen"], "127.0.0.1", "localhost", 1)))
	if !errors.Is(err, errTries) {
		t.Errorf("the error is %v", err)
	}
	wantLines(t, got,
		`wrong: the device \(which says it is kitchen, MAC ([0-9A-F]{2}:){5}[0-9A-F]{2}\) refused the encryption key: .*`,
		`none: the device requires encryption: .*`,
	)
	// The same device by two addresses, one of them with another key.
	got, err = checkTry(t, fmt.Sprintf("{name: wrong, address: %q, noise_psk: %q}", addrs["kitchen"], strings.Replace(psk, "AQID", "AQIE", 1)),
		fmt.Sprintf("{name: right, address: %q, noise_psk: %q}", strings.Replace(addrs["kitchen"], "127.0.0.1", "localhost", 1), psk))
	if !errors.Is(err, errTries) || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("the error is %v", err)
	}
	wantLines(t, got,
		`wrong: the device says that it is the same as "right" \(MAC ([0-9A-F]{2}:){5}[0-9A-F]{2}\), and refused the encryption key: remove one of the two entries`,
	)
	got, err = checkTry(t)
	if err != nil || !strings.Contains(got, "there is no proxy to try") {
		t.Errorf("%v %s", err, got)
	}
}
