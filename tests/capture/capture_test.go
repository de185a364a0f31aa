package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/btsnoop"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	mainPath = dbus.ObjectPath("/org/bluez/hci0/dev_00_AA_01_01_00_01")
	device1  = "org.bluez.Device1"
	char1    = "org.bluez.GattCharacteristic1"
	long     = mainPath + "/service0018/char002a" // 300 bytes
	both     = mainPath + "/service0018/char0020"
	notified = mainPath + "/service0018/char0024" // value handle 37
	limit    = 5 * time.Minute
)

// program is a program on D-Bus that uses the peripheral of the recordings.
type program struct{ *harness.Client }

// connect finds the device and connects it.
func (p program) connect() {
	p.T.Helper()
	p.Call("/org/bluez/hci0", "org.bluez.Adapter1.StartDiscovery")
	p.Until(mainPath, device1, "Address", "00:AA:01:01:00:01")
	p.Call(mainPath, device1+".Connect")
	p.Until(mainPath, device1, "ServicesResolved", true)
	p.Call("/org/bluez/hci0", "org.bluez.Adapter1.StopDiscovery")
}

func (p program) value(c dbus.ObjectPath) (v []byte) {
	p.T.Helper()
	if err := p.Call(c, char1+".ReadValue", map[string]dbus.Variant{}).Store(&v); err != nil {
		p.T.Fatal(err)
	}
	return v
}

// attributes lists the UUIDs of the device's tree, by path.
func (p program) attributes() map[dbus.ObjectPath]string {
	out := map[dbus.ObjectPath]string{}
	for path, ifaces := range p.Objects() {
		for name, props := range ifaces {
			if strings.HasPrefix(name, "org.bluez.Gatt") && strings.HasPrefix(string(path), string(mainPath)) {
				out[path], _ = props["UUID"].Value().(string)
			}
		}
	}
	return out
}

// world is a daemon with all three fronts, and two captures of it, one without addresses.
type world struct {
	t        *testing.T
	place    harness.Place
	controls string
	bus      *harness.Bus
	shared   string // address of the proxy as it is shared
	captures []*harness.Proc
}

func (w *world) file(name string) string { return filepath.Join(w.place.Dir, name+".btsnoop") }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, place: harness.NewPlace(t)}
	w.controls = filepath.Join(w.place.Dir, "control")
	sim := harness.Start(t, w.place.Env(), harness.Binary(), "simulate", "--peripherals",
		harness.Path(t, "internal", "proxysim", "testdata", "golden-peripheral.json"), "--proxy", "kitchen=127.0.0.1:0", "--control", w.controls)
	addr := sim.Out.Expect(t, `proxy (\S+) listens on (\S+)`)[2]
	w.bus = w.place.Run(t, fmt.Sprintf("proxies: [{address: %q, name: kitchen}]\nhci: [{unix: %s/hci.sock}]\nshare: {listen: 127.0.0.1, base_port: %d}\n",
		addr, w.place.Dir, harness.FreePort(t)))
	w.shared = w.bus.Daemon.Err.Expect(t, `The proxy is shared.* address=(\S+)`)[1]
	for _, args := range [][]string{{"all"}, {"redacted", "--redact"}} {
		args[0] = w.file(args[0])
		p := harness.Start(t, w.place.Env(), harness.Binary(), append([]string{"capture", "--bus", w.bus.Address}, args...)...)
		p.Err.Expect(t, `Capturing`)
		w.captures = append(w.captures, p)
	}
	return w
}

func (w *world) use(t *testing.T) {
	t.Helper()
	p := program{w.bus.Client(t)}
	p.connect()
	if n := len(p.value(long)); n != 300 {
		t.Fatalf("a value of %d bytes", n)
	}
	p.Call(both, char1+".WriteValue", []byte("written"), map[string]dbus.Variant{})
	p.Call(notified, char1+".StartNotify")
	harness.Tell(t, filepath.Join(w.controls, "main.sock"), `{"op":"notify","handle":37,"value":"77","indicate":false}`)
	p.Eventually("the value came", func() bool { v, _ := p.Get(notified, char1, "Value").([]byte); return string(v) == "\x77" })
	p.Call(mainPath, device1+".Disconnect")
	p.Until(mainPath, device1, "Connected", false)

	guest := harness.Start(t, w.place.Env(), harness.Python(t), harness.Path(t, "tests", "controller", "bumble_guest.py"), "unix:"+filepath.Join(w.place.Dir, "hci.sock"))
	guest.Out.Expect(t, `(?m)^READY$`)
	guest.Send(t, "unsubscribe")
	guest.Send(t, "disconnect")
	guest.Out.Expect(t, `(?m)^DONE disconnect$`)
	if code := guest.Wait(t, limit); code != 0 {
		t.Fatalf("the controller's host exited with %d", code)
	}

	host := harness.Run(t, fmt.Sprintf("proxies: [{address: %q, name: shared}]\n", w.shared))
	p = program{host.Client(t)}
	p.connect()
	if string(p.value(both)) != "written" {
		t.Error("the host that shares the proxy reads another value")
	}
	p.Call(mainPath, device1+".Disconnect")
	p.Until(mainPath, device1, "Connected", false)
}

// TestCapture: links of a program on D-Bus, of a controller's host and of a host that shares the proxy are in the
// capture, and nothing that is none; Wireshark reads it; the simulator plays it; another capture of the same time has
// no address.
func TestCapture(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.use(t)
	for _, p := range w.captures {
		p.Signal(t, syscall.SIGINT)
	}
	for _, p := range w.captures {
		if code := p.Wait(t, limit); code != 0 {
			t.Fatalf("capture exited with %d", code)
		}
		p.Err.Expect(t, `\d+ records\n`)
	}
	all, err := os.ReadFile(w.file("all"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{
		"LE Connection Complete": 3, "Disconnection Complete": 3, "Disconnect": 3, "Read Blob": 1, "Write": 1, "Notification": 1,
	}
	got := counted(t, all)
	// A daemon reads the name of a device that it connects before it has heard the name: each of the two may.
	names := got["Name"]
	want["Name"] = min(max(names, 1), 2)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(w.file("all")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	w.redacted(t, all)
	w.wireshark(t, names)
	w.replayed(t)
}

// counted counts what a capture has of links; a frame of another channel than ATT fails the test.
func counted(t *testing.T, file []byte) map[string]int {
	t.Helper()
	r, err := btsnoop.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if rec.Drops != 0 {
			t.Fatalf("%d records were lost", rec.Drops)
		}
		d := rec.Data
		switch {
		case rec.Op == btsnoop.Event && d[0] == 0x3e && d[2] == 1 && d[3] == 0:
			out["LE Connection Complete"]++
		case rec.Op == btsnoop.Event && d[0] == 5:
			out["Disconnection Complete"]++
		case rec.Op == btsnoop.Command && d[1] == 4 && d[0] == 6:
			out["Disconnect"]++
		case rec.Op != btsnoop.ACLTX && rec.Op != btsnoop.ACLRX:
		case d[6] != 4:
			t.Fatalf("a frame of channel %d", d[6])
		case rec.Op == btsnoop.ACLTX && d[8] == 0x0c:
			out["Read Blob"]++
		case rec.Op == btsnoop.ACLTX && bytes.HasPrefix(d[8:], []byte{0x12, 33, 0}):
			out["Write"]++
		case rec.Op == btsnoop.ACLRX && d[8] == 0x1b:
			out["Notification"]++
		case rec.Op == btsnoop.ACLRX && d[8] == 0x0b && string(d[9:]) == "GoldenTest1":
			out["Name"]++
		}
	}
}

// redacted checks the capture without addresses: it has as much, and no address of a device or a proxy.
func (w *world) redacted(t *testing.T, all []byte) {
	t.Helper()
	hidden, err := os.ReadFile(w.file("redacted"))
	if err != nil {
		t.Fatal(err)
	}
	a, b := counted(t, all), counted(t, hidden)
	if !maps.Equal(a, b) {
		t.Errorf("the one has %v, the other %v", a, b)
	}
	for _, address := range []string{"\x01\x00\x01\x01\xaa\x00", "\x00\xaa\x01\x01\x00\x01", "\x55\x44\x33\x22\x11\xc4"} {
		if bytes.Contains(hidden, []byte(address)) {
			t.Errorf("the address % x is in the capture without addresses", address)
		}
	}
}

// wireshark has Wireshark take the captures apart, in which the device's name is read that many times.
func (w *world) wireshark(t *testing.T, names int) {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Log("skipped: tshark is not installed (apt install tshark)")
		return
	}
	for _, name := range []string{"all", "redacted"} {
		show := func(filter string) string {
			cmd := exec.Command("tshark", "-r", w.file(name), "-Y", filter)
			cmd.Env = append(cmd.Environ(), w.place.Env()...)
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("tshark: %v", err)
			}
			return string(out)
		}
		if bad := show("_ws.malformed || _ws.expert.severity >= 0x600000"); bad != "" {
			t.Errorf("Wireshark finds malformed in %s:\n%s", name, bad)
		}
		if n := strings.Count(show("btatt.opcode == 0x0b && btatt.device_name"), "Generic Access: Device Name"); n != names {
			t.Errorf("Wireshark finds the device's name read %d times in %s, want %d", n, name, names)
		}
	}
}

// replayed has the simulator play the capture, and another daemon and program use what it plays.
func (w *world) replayed(t *testing.T) {
	t.Helper()
	got, err := proxysim.LoadPeripherals(w.file("all"))
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := proxysim.LoadPeripherals(harness.Path(t, "internal", "proxysim", "testdata", "golden-peripheral.json"))
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := attributesOf(got), attributesOf(recorded)
	if diff := cmp.Diff(theirs, ours, cmpopts.EquateEmpty()); diff != "" || len(ours) == 0 {
		t.Errorf("attributes (-there, +captured):\n%s", diff)
	}
	_, addrs := harness.Simulate(t, w.file("all"), "kitchen=127.0.0.1:0")
	p := program{harness.Run(t, fmt.Sprintf("proxies: [{address: %q, name: kitchen}]\n", addrs["kitchen"])).Client(t)}
	p.connect()
	first := program{w.bus.Client(t)}
	first.connect()
	if diff := cmp.Diff(first.attributes(), p.attributes()); diff != "" {
		t.Errorf("the tree (-daemon, +replayed):\n%s", diff)
	}
	if string(p.value(long)) != string(first.value(long)) {
		t.Error("the long value is another one")
	}
	for _, name := range []string{"Name", "ManufacturerData", "ServiceData", "UUIDs"} {
		if diff := cmp.Diff(fmt.Sprint(first.Get(mainPath, device1, name)), fmt.Sprint(p.Get(mainPath, device1, name))); diff != "" {
			t.Errorf("%s (-daemon, +replayed):\n%s", name, diff)
		}
	}
}

// attributesOf lists the main device's attributes.
func attributesOf(devices []proxysim.DeviceSpec) (out []string) {
	for _, d := range devices {
		if d.Address != ble.Address(0x00aa01010001) {
			continue
		}
		for _, s := range d.GATT.Services {
			out = append(out, fmt.Sprintf("%d service %s", s.Handle, s.UUID))
			for _, c := range s.Characteristics {
				out = append(out, fmt.Sprintf("%d characteristic %s", c.ValueHandle, c.UUID))
				for _, d := range c.Descriptors {
					out = append(out, fmt.Sprintf("%d descriptor %s", d.Handle, d.UUID))
				}
			}
		}
	}
	return out
}

// TestWithoutBus: a daemon without a bus is found by its configuration, or at its usual place; who may not see what
// devices say is told so; a file that exists is left alone.
func TestWithoutBus(t *testing.T) {
	t.Parallel()
	_, addrs := harness.Simulate(t, "", "kitchen=127.0.0.1:0")
	place := harness.NewPlace(t)
	state := filepath.Join(place.Dir, "bluez-esphome") // the usual one of a user whose XDG_STATE_HOME is the place
	config := filepath.Join(place.Dir, "config.yaml")
	text := fmt.Sprintf("bus: none\nstate_dir: %s\nproxies: [{address: %q, name: kitchen}]\n", state, addrs["kitchen"])
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	env := append(place.Env(), "BLUEZ_ESPHOME_STATE_DIR="+state)
	daemon := harness.Start(t, env, harness.Binary(), "run", "--config", config)
	daemon.Err.Expect(t, `Proxy is online`)
	file := filepath.Join(place.Dir, "a.btsnoop")
	for _, args := range [][]string{{"--config", config}, {}} {
		p := harness.Start(t, env, harness.Binary(), append([]string{"capture", file, "--time", "1ms"}, args...)...)
		if code := p.Wait(t, limit); code != 0 {
			t.Fatalf("capture %q exited with %d", args, code)
		}
		if err := os.Remove(file); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := harness.Start(t, env, harness.Binary(), "capture", file, "--config", config)
	p.Err.Expect(t, `exists already; name another file`)
	if code := p.Wait(t, limit); code != 1 {
		t.Errorf("capture exited with %d", code)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file has %q, %v", b, err)
	}
	if os.Geteuid() != 0 {
		t.Log("skipped: only root can be somebody else")
		return
	}
	stranger(t, place, state)
	cmd := exec.Command(filepath.Join(place.Dir, "program"), "capture", "-", "--config", config)
	cmd.Dir, cmd.Env = "/", append(cmd.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "try again with sudo") {
		t.Errorf("a stranger: %v\n%s", err, out)
	}
}

// stranger lets another user run the program and reach the place.
func stranger(t *testing.T, place harness.Place, state string) {
	t.Helper()
	// Not written by this process: while another test starts something, its child has the file open for writing, and the
	// kernel starts no program that somebody may write.
	err := exec.Command("install", "-m", "755", harness.Binary(), filepath.Join(place.Dir, "program")).Run()
	if err == nil {
		err = os.Chmod(place.Dir, 0o755)
	}
	if err == nil {
		_, err = os.Stat(filepath.Join(state, "capture"))
	}
	if err != nil {
		t.Fatal(err)
	}
}
