package tests

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

const (
	key      = "QRTIErOb/fcE9Ukd/5qA3RGYMn0Y+p06U58SCtOXvPc="
	otherKey = "dGhpcnR5LXR3byBieXRlcyBvZiBhbm90aGVyIGtleSE="
)

// TestBadLinks: for each proxy that cannot be used there is one line that names it and says what to do, and the others
// work.
func TestBadLinks(t *testing.T) {
	t.Parallel()
	_, at := harness.Simulate(t, "", "kitchen=127.0.0.1:0", "garage=127.0.0.1:0,psk="+key,
		"wrongkey=127.0.0.1:0,psk="+key, "plain=127.0.0.1:0", "noise=127.0.0.1:0,psk="+key)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	bus := harness.Run(t, fmt.Sprintf(`
proxies:
  - {name: kitchen, address: %q}
  - {name: garage, address: %q, noise_psk: %q}
  - {name: wrongkey, address: %q, noise_psk: %q}
  - {name: plain, address: %q, noise_psk: %q}
  - {name: noise, address: %q}
  - {name: refused, address: %q}
  - {name: unknown, address: "no-such-proxy.invalid:6053"}
`, at["kitchen"], at["garage"], key, at["wrongkey"], otherKey, at["plain"], key, at["noise"], refused))

	complaint := func(name string) *regexp.Regexp {
		return regexp.MustCompile(`(?m)^.*level=(WARN|ERROR).*proxy="?` + name + `\b.*$`)
	}
	wants := map[string]string{
		"wrongkey": `(?i)noise_psk|key`, "plain": `(?i)noise_psk|plaintext`, "noise": `(?i)noise_psk|encrypt`,
		"refused": `(?i)refused`, "unknown": `(?i)no-such-proxy\.invalid`,
	}
	for name, want := range wants {
		line := firstLine(t, bus.Daemon.Err, complaint(name))
		if !regexp.MustCompile(want).MatchString(line) {
			t.Errorf("%s: the line does not say %s: %s", name, want, line)
		}
		t.Log(line)
	}
	c := newClient(t, bus)
	c.discover(pulsePath)
	c.connect(pulsePath)
	var value []byte
	if err := c.Call(c.char(pulsePath, greetingUUID), charIface+".ReadValue", map[string]dbus.Variant{}).Store(&value); err != nil || string(value) != "hello" {
		t.Errorf("read %q, %v", value, err)
	}
	log := bus.Daemon.Err.String()
	for name := range wants {
		if lines := complaint(name).FindAllString(log, -1); len(lines) != 1 {
			t.Errorf("%s: %d lines, want one:\n%q", name, len(lines), lines)
		}
	}
	for _, name := range []string{"kitchen", "garage"} {
		if lines := complaint(name).FindAllString(log, -1); len(lines) != 0 {
			t.Errorf("%s works, but: %q", name, lines)
		}
	}
	for _, secret := range []string{key, otherKey} {
		if regexp.MustCompile(regexp.QuoteMeta(secret[:20])).MatchString(log) {
			t.Error("the log shows a key")
		}
	}
}

// firstLine waits for a line that matches, wherever it stands.
func firstLine(t *testing.T, s *harness.Stream, re *regexp.Regexp) string {
	t.Helper()
	for {
		if line := re.FindString(s.String()); line != "" {
			return line
		}
		s.Expect(t, `\n`) // one more line, or the test fails
	}
}

// TestNameTaken: if another process owns org.bluez, the daemon names it, exits with 4 and changes nothing.
func TestNameTaken(t *testing.T) {
	t.Parallel()
	place := harness.NewPlace(t)
	socket := filepath.Join(place.Dir, "bus")
	daemon := harness.Start(t, nil, "dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address", "--address=unix:path="+socket)
	daemon.Out.Expect(t, `unix:path=`)
	bus := &harness.Bus{Address: "unix:path=" + socket}
	owner := bus.Connect(t)
	if reply, err := owner.RequestName("org.bluez", dbus.NameFlagDoNotQueue|dbus.NameFlagAllowReplacement); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
	path := filepath.Join(place.Dir, "config.yaml")
	if err := os.WriteFile(path, []byte("proxies: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := harness.Start(t, place.Env(), harness.Binary(), "run", "--config", path, "--bus", bus.Address)
	if status := p.Wait(t, harness.Limit); status != 4 {
		t.Errorf("exit status %d, want 4", status)
	}
	p.Err.Expect(t, fmt.Sprintf(`\b%d\b`, os.Getpid()))
	if want := filepath.Base(os.Args[0]); !regexp.MustCompile(regexp.QuoteMeta(want)).MatchString(p.Err.String()) {
		t.Errorf("the message does not name %s: %s", want, p.Err)
	}
	var now string
	if err := owner.BusObject().Call("org.freedesktop.DBus.GetNameOwner", 0, "org.bluez").Store(&now); err != nil || now != owner.Names()[0] {
		t.Errorf("org.bluez now belongs to %s (%v)", now, err)
	}
}

// TestStops: SIGTERM ends the daemon cleanly, with status 0.
func TestStops(t *testing.T) {
	t.Parallel()
	bus := harness.Run(t, "proxies: []\n")
	bus.Daemon.Stop(t)
	if status := bus.Daemon.Wait(t, harness.Limit); status != 0 {
		t.Errorf("exit status %d after SIGTERM", status)
	}
}

// TestConfigurationMistakes: run and check list every mistake and exit with 3.
func TestConfigurationMistakes(t *testing.T) {
	t.Parallel()
	place := harness.NewPlace(t)
	path := filepath.Join(place.Dir, "config.yaml")
	if err := os.WriteFile(path, []byte("bus: x\nproxys: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"run", "check"} {
		p := harness.Start(t, place.Env(), harness.Binary(), command, "--config", path)
		if status := p.Wait(t, harness.Limit); status != 3 {
			t.Errorf("%s: exit status %d, want 3", command, status)
		}
		p.Err.Expect(t, `config.yaml:1: bus: `)
		p.Err.Expect(t, `config.yaml:2: unknown key "proxys"; did you mean "proxies"\?`)
	}
}

// TestVersion: Qt asks the owner of org.bluez for a BlueZ version of at least 5.42.
func TestVersion(t *testing.T) {
	t.Parallel()
	p := harness.Start(t, nil, harness.Binary(), "--version")
	if status := p.Wait(t, harness.Limit); status != 0 {
		t.Errorf("exit status %d", status)
	}
	p.Out.Expect(t, `^5\.[4-9][0-9]\n`)
	p = harness.Start(t, nil, harness.Binary(), "version")
	p.Out.Expect(t, `^bluez-esphome \S+\n`)
}
