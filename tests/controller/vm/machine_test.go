package vm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

// machineEnv is set by the script that the machine runs.
const machineEnv = "BLUEZ_ESPHOME_MACHINE"

// version is the version of the machine's BlueZ.
var version string

func TestMain(m *testing.M) {
	if os.Getenv(machineEnv) == "" {
		os.Exit(m.Run())
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	bluez, _ := exec.Command("bluetoothctl", "--version").Output()
	version = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(string(bluez)), "bluetoothctl:"))
	fmt.Printf("machine: Linux %s, BlueZ %s\n", strings.TrimSpace(string(kernel)), version)
	harness.Main(m)
}

// limit is how long one wait may take: the machine is emulated, on a host that may be busy.
const limit = 10 * time.Minute

const (
	adapter1 = "org.bluez.Adapter1"
	device1  = "org.bluez.Device1"
	char1    = "org.bluez.GattCharacteristic1"

	mainAddress = "00:AA:01:01:00:01"
	hostFolder  = "/host"
)

// machine is bluetoothd on a kernel with controllers of our daemon.
type machine struct {
	*harness.Client
	t          *testing.T
	dir        string
	sim        *harness.Proc
	daemon     *harness.Proc
	attach     *harness.Proc // btattach; nil unless the controller is a pseudo terminal
	bluetoothd *harness.Proc
	config     string
	hci        []string
	proxies    map[string]string // the address of each, by name
}

// setup starts two simulated proxies, kitchen and garage, and the daemon. hci is the entries of the daemon's hci
// option; DIR in them stands for the folder of the test.
func setup(t *testing.T, hci ...string) *machine {
	t.Helper()
	m := prepare(t, hci...)
	m.configure(filepath.Join(m.dir, "state"))
	m.runDaemon()
	return m
}

// prepare is setup without the daemon.
func prepare(t *testing.T, hci ...string) *machine {
	t.Helper()
	if os.Getenv(machineEnv) == "" {
		t.Skip("it runs in a machine of its own (make test-controller)")
	}
	m := &machine{t: t, dir: t.TempDir(), hci: hci, proxies: map[string]string{}}
	m.config = filepath.Join(m.dir, "config.yaml")
	m.sim = harness.Start(t, nil, harness.Binary(), "simulate", "--peripherals", filepath.Join(hostFolder, "peripherals.json"),
		"--proxy", "kitchen=127.0.0.1:0", "--proxy", "garage=127.0.0.1:0,psk="+psk, "--control", filepath.Join(m.dir, "control"))
	for range 2 {
		found := m.sim.Out.Expect(t, `proxy (\S+) listens on (\S+)`)
		m.proxies[found[1]] = found[2]
	}
	return m
}

// configure writes the daemon's configuration; state is the folder for its state.
func (m *machine) configure(state string) {
	m.t.Helper()
	text := fmt.Sprintf("bus: none\nlog: {level: debug}\nstate_dir: %s\nproxies:\n  - {name: kitchen, address: %q}\n  - {name: garage, address: %q, noise_psk: %q}\nhci:\n",
		state, m.proxies["kitchen"], m.proxies["garage"], psk)
	for _, h := range m.hci {
		text += "  - {" + strings.ReplaceAll(h, "DIR", m.dir) + "}\n"
	}
	if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

const psk = "QRTIErOb/fcE9Ukd/5qA3RGYMn0Y+p06U58SCtOXvPc="

// runDaemon starts the daemon and waits for the controllers.
func (m *machine) runDaemon() {
	m.t.Helper()
	m.daemon = harness.Start(m.t, nil, harness.Binary(), "run", "--config", m.config)
	said := func(pattern string, times int) {
		m.t.Helper()
		harness.Eventually(m.t, limit, "the daemon says "+pattern, func() bool { return m.daemon.Err.Count(pattern) >= times })
	}
	said(`Proxy is online`, 2)
	for _, h := range m.hci {
		if strings.HasPrefix(h, "pty") {
			said(`A controller waits for its host`, 1)
			m.attach = harness.Start(m.t, nil, "btattach", "-B", filepath.Join(m.dir, "tty"), "-P", "h4")
		}
	}
	said(`A host uses the controller`, len(m.hci))
}

// exists waits until hciN is there, or is no longer there.
func (m *machine) exists(n int, want bool) {
	m.t.Helper()
	path := fmt.Sprintf("/sys/class/bluetooth/hci%d", n)
	harness.Eventually(m.t, limit, fmt.Sprintf("%s is there: %v", path, want), func() bool {
		_, err := os.Stat(path)
		return (err == nil) == want
	})
}

// serve starts a bluetoothd without any state, and a client of it that has an agent.
func (m *machine) serve() {
	m.t.Helper()
	if err := os.RemoveAll("/var/lib/bluetooth"); err != nil {
		m.t.Fatal(err)
	}
	m.runBluetoothd()
}

func (m *machine) runBluetoothd() {
	m.t.Helper()
	if err := os.MkdirAll("/var/lib/bluetooth", 0o700); err != nil {
		m.t.Fatal(err)
	}
	m.bluetoothd = harness.Start(m.t, nil, "bluetoothd", "-n", "-d")
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = conn.Close() })
	m.Client = &harness.Client{T: m.t, Conn: conn, Limit: limit}
	for i := range m.hci {
		m.Until(adapterPath(i), adapter1, "Powered", true)
	}
	if err := conn.Export(agent{}, agentPath, "org.bluez.Agent1"); err != nil {
		m.t.Fatal(err)
	}
	m.Call("/org/bluez", "org.bluez.AgentManager1.RegisterAgent", agentPath, "NoInputNoOutput")
	m.Call("/org/bluez", "org.bluez.AgentManager1.RequestDefaultAgent", agentPath)
}

const agentPath = dbus.ObjectPath("/agent")

// agent accepts every pairing.
type agent struct{}

func (agent) Release() *dbus.Error                                       { return nil }
func (agent) Cancel() *dbus.Error                                        { return nil }
func (agent) RequestAuthorization(dbus.ObjectPath) *dbus.Error           { return nil }
func (agent) AuthorizeService(dbus.ObjectPath, string) *dbus.Error       { return nil }
func (agent) RequestConfirmation(dbus.ObjectPath, uint32) *dbus.Error    { return nil }
func (agent) DisplayPasskey(dbus.ObjectPath, uint32, uint16) *dbus.Error { return nil }
func (agent) RequestPasskey(dbus.ObjectPath) (uint32, *dbus.Error)       { return 0, nil }
func (agent) RequestPinCode(dbus.ObjectPath) (string, *dbus.Error)       { return "0", nil }
func (agent) DisplayPinCode(dbus.ObjectPath, string) *dbus.Error         { return nil }

func adapterPath(n int) dbus.ObjectPath { return dbus.ObjectPath(fmt.Sprintf("/org/bluez/hci%d", n)) }

// on gives the path of the main device's object on hciN, or of an object below it.
func on(n int, below string) dbus.ObjectPath {
	return adapterPath(n) + "/dev_" + dbus.ObjectPath(strings.ReplaceAll(mainAddress, ":", "_")+below)
}

// tell sends a request to the simulator's control socket of the main device.
func (m *machine) tell(request string) map[string]any {
	m.t.Helper()
	conn, err := net.Dial("unix", filepath.Join(m.dir, "control", "main.sock"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintln(conn, request); err != nil {
		m.t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err != nil {
		m.t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(line, &answer); err != nil || answer["ok"] != true {
		m.t.Fatalf("%s: %s, %v", request, line, err)
	}
	return answer
}

// output runs a program, which must succeed within the limit, and gives its output.
func (m *machine) output(name string, args ...string) string {
	m.t.Helper()
	p := harness.Start(m.t, nil, name, args...)
	if status := p.Wait(m.t, limit); status != 0 {
		m.t.Fatalf("%s %s ended with %d: %s%s", name, strings.Join(args, " "), status, p.Out, p.Err)
	}
	return p.Out.String() + p.Err.String()
}

// contains fails the test unless text has all of the parts.
func (m *machine) contains(text string, parts ...string) {
	m.t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			m.t.Errorf("there is no %q in:\n%s", p, text)
		}
	}
}
