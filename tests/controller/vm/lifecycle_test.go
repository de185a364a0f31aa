package vm

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"bluez-esphome/tests/harness"
)

// TestRestart: the controller disappears with the daemon and comes back with the same address. A paired device
// reconnects with its key.
func TestRestart(t *testing.T) {
	m := setup(t, "vhci: true, proxies: [kitchen]")
	m.serve()
	m.connect(0)
	m.pair(0)
	before := m.Get(adapterPath(0), adapter1, "Address")
	m.step("the daemon restarts with a link", func() {
		m.daemon.Stop(m.t)
		m.exists(0, false)
		m.Eventually("the adapter is gone", func() bool { _, is := m.Objects()[adapterPath(0)]; return !is })
	})
	n := m.returns()
	m.step("the address is the same", func() {
		if after := m.Get(adapterPath(n), adapter1, "Address"); after != before {
			m.t.Errorf("the address was %v and is %v", before, after)
		}
		m.Until(on(n, ""), device1, "Paired", true)
	})
	m.step("the paired device comes back with its key", func() {
		m.connect(n)
		m.encrypted(n)
		m.disconnect(n)
	})
	m.step("the daemon is killed with a link", func() {
		m.connect(n)
		m.daemon.Signal(m.t, syscall.SIGKILL)
		<-m.daemon.Done() // until then it holds the lock of the state folder
	})
	// While bluetoothd still holds its link, the kernel keeps the number: the controller may come back as hci1.
	n = m.returns()
	m.step("it comes back after that", func() {
		m.connect(n)
		m.encrypted(n)
		m.disconnect(n)
	})
	m.step("the proxy is lost with a link", func() {
		m.connect(n)
		m.sim.Signal(m.t, syscall.SIGSTOP) // the connection to it stays open and silent
		m.Until(on(n, ""), device1, "Connected", false)
		m.sim.Signal(m.t, syscall.SIGCONT)
		m.connect(n)
		m.encrypted(n)
	})
	m.step("bluetoothd restarts", func() {
		m.bluetoothd.Stop(m.t)
		m.runBluetoothd()
		m.Until(on(n, ""), device1, "Paired", true)
		m.connect(n)
		m.encrypted(n)
	})
}

// returns starts the daemon again and gives N, the number of its controller hciN.
func (m *machine) returns() int {
	m.t.Helper()
	m.runDaemon()
	found := regexp.MustCompile(`A host uses the controller.*host=hci(\d)`).FindStringSubmatch(m.daemon.Err.String())
	if found == nil {
		m.t.Fatal("the daemon does not say which controller it is")
	}
	n := int(found[1][0] - '0')
	m.Until(adapterPath(n), adapter1, "Powered", true)
	return n
}

// TestSeveral: each entry of hci is an adapter with an address of its own and the proxies that the entry names.
func TestSeveral(t *testing.T) {
	m := setup(t, "vhci: true, proxies: [kitchen]", "vhci: true, proxies: [garage]")
	m.serve()
	a, b := m.Get(adapterPath(0), adapter1, "Address"), m.Get(adapterPath(1), adapter1, "Address")
	if a == b {
		t.Fatalf("both have the address %v", a)
	}
	m.step("both find and connect", func() {
		for n := range 2 {
			m.connect(n)
			m.disconnect(n)
		}
	})
	m.step("each uses its proxy", func() {
		m.connect(1)
		m.daemon.Err.Expect(m.t, `msg=connected .*proxy=garage`)
		m.disconnect(1)
	})
}

// TestUnprivileged: to open the device, the daemon needs only its group.
func TestUnprivileged(t *testing.T) {
	if os.Getenv(machineEnv) == "" {
		t.Skip("it runs in a machine of its own (make test-controller)")
	}
	const id = 990
	config := t.TempDir() + "/config.yaml"
	if err := os.WriteFile(config, []byte("state_dir: /tmp/unprivileged\nproxies: [{address: \"127.0.0.1:1\"}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{strings.TrimSuffix(config, "/config.yaml"), strings.TrimSuffix(config, "/001/config.yaml")} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll("/tmp/unprivileged", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown("/tmp/unprivileged", id, id); err != nil {
		t.Fatal(err)
	}
	run := []string{"-c", "import os, sys; os.setgroups([]); os.setgid(990); os.setuid(990); os.execv(sys.argv[1], sys.argv[1:])", harness.Binary(), "run", "--bus", "none", "--vhci", "--config", config}
	t.Run("without the group: it says why", func(t *testing.T) {
		p := harness.Start(t, nil, "python3", run...)
		p.Err.ExpectIn(t, `A controller is not there yet.*/dev/vhci: permission denied`, limit)
		p.Stop(t)
	})
	if err := os.Chown("/dev/vhci", 0, id); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod("/dev/vhci", 0o660); err != nil {
		t.Fatal(err)
	}
	t.Run("with it: hci0", func(t *testing.T) {
		p := harness.Start(t, nil, "python3", run...)
		p.Err.ExpectIn(t, `A host uses the controller.*hci0`, limit)
		if _, err := os.Stat("/sys/class/bluetooth/hci0"); err != nil {
			t.Error(err)
		}
		p.Stop(t)
		harness.Eventually(t, limit, "hci0 is gone", func() bool {
			_, err := os.Stat("/sys/class/bluetooth/hci0")
			return err != nil
		})
	})
}
