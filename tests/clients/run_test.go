package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

// The demo's heart-rate sensor.
const (
	pulse        = "C8:2B:96:10:00:01"
	pulsePath    = dbus.ObjectPath("/org/bluez/hci0/dev_C8_2B_96_10_00_01")
	greetingUUID = "b1e50002-6d5e-4c1b-9e3a-1f0c2d3e4f50"
	counterUUID  = "b1e50004-6d5e-4c1b-9e3a-1f0c2d3e4f50"
)

// bluetoothctl sends the commands that a person would type.
func bluetoothctl(t *testing.T, bus *harness.Bus) string {
	var done strings.Builder
	step := func(name string) { done.WriteString("STEP " + name + "\n") }
	c := harness.StartTerminal(t, bus.Env(), "bluetoothctl")
	say := func(line string, patterns ...string) {
		t.Helper()
		c.Send(t, line)
		for _, p := range patterns {
			c.Out.Expect(t, p)
		}
	}
	c.Out.Expect(t, `Agent registered`)
	say("show", `Controller [0-9A-F:]{17} \(public\)`, `Powered: yes`, `Discovering: no`, `Roles: central`)
	step("power")
	say("scan le", `Discovery started`, `\[NEW\] Device `+pulse+` Pulse HR-1|\[CHG\] Device `+pulse+` Name: Pulse HR-1`)
	say("devices", `Device `+pulse+` Pulse HR-1`)
	say("info "+pulse, `Device `+pulse+` \(random\)`, `Name: Pulse HR-1`, `Appearance: 0x0341`, `Connected: no`,
		`UUID: Heart Rate`, `ManufacturerData Key: 0xffff|ManufacturerData.Key: 0xffff`, `RSSI: `)
	say("scan off", `Discovery stopped`)
	step("discover")
	say("connect "+pulse, `Attempting to connect`, `Connected: yes`, `Connection successful`, `ServicesResolved: yes`)
	say("info "+pulse, `Device `+pulse+` \(random\)`, `Connected: yes`, `UUID: Vendor specific\s+\(b1e50001-`)
	step("connect")
	say("gatt.list-attributes "+pulse, `Primary Service`, string(pulsePath)+`/service[0-9a-f]{4}/char[0-9a-f]{4}`, greetingUUID, counterUUID)
	say("gatt.select-attribute "+greetingUUID, `\[Pulse HR-1:/service[0-9a-f]{4}/char[0-9a-f]{4}\]#`)
	step("list")
	say("gatt.read", `Attempting to read`, `68 65 6c 6c 6f\s+hello`)
	step("read")
	say(`gatt.write "0x77 0x6f 0x72 0x6c 0x64"`, `Attempting to write`)
	say("gatt.read", `Attempting to read`, `77 6f 72 6c 64\s+world`)
	step("write")
	say("gatt.select-attribute "+counterUUID, `/char[0-9a-f]{4}\]#`)
	value := `\[CHG\] Attribute ` + string(pulsePath) + `/service[0-9a-f]{4}/char[0-9a-f]{4} Value:`
	say("gatt.notify on", `Notify started`, value, value, value)
	say("gatt.notify off", `Notify stopped`)
	step("notify")
	say("disconnect "+pulse, `Connected: no`, `Successful disconnected`)
	say("info "+pulse, `Device `+pulse+` \(random\)`, `Connected: no`)
	step("disconnect")
	c.Send(t, "quit")
	if status := c.Wait(t, harness.Limit); status != 0 {
		t.Errorf("bluetoothctl exited with %d", status)
	}
	return done.String()
}

// nodeModules is where scripts/lib.sh installs node-ble.
func nodeModules(t *testing.T) string {
	return harness.Path(t, "tests", "clients", "node", "node_modules")
}

func nodeVersion(t *testing.T) (version, missing string) {
	if _, err := exec.LookPath("node"); err != nil {
		return "", "node is not installed"
	}
	if _, err := os.Stat(filepath.Join(nodeModules(t), "node-ble")); err != nil {
		return "", "node-ble is not installed (make test-clients does it where npm is)"
	}
	return pinned("tests/clients/node/package.json", `"node-ble": "([^"]+)"`)(t)
}

func node(t *testing.T, bus *harness.Bus) string {
	return output(t, bus, "node", harness.Path(t, "tests", "clients", "node", "steps.js"))
}

// tinygo is a module of its own: go mod tidy fails on what the library requires and nobody needs here.
func tinygo(t *testing.T, bus *harness.Bus) string {
	return output(t, bus, built(t, harness.Path(t, "tests", "clients", "tinygo"), "-mod=mod"))
}

func muka(t *testing.T, bus *harness.Bus) string {
	return output(t, bus, built(t, harness.Path(t, "tests", "clients", "muka")))
}

func built(t *testing.T, dir string, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "client")
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", path, ".")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build %s: %v\n%s", dir, err, out)
	}
	return path
}

// company is another program that runs beside one-shot tools: it discovers, and subscribes once the tool has connected.
func company(t *testing.T, bus *harness.Bus) {
	t.Helper()
	conn := bus.Connect(t)
	signals := make(chan *dbus.Signal, 1<<12)
	conn.Signal(signals)
	if err := conn.AddMatchSignal(dbus.WithMatchSender("org.bluez"), dbus.WithMatchMember("PropertiesChanged"), dbus.WithMatchObjectPath(pulsePath)); err != nil {
		t.Fatal(err)
	}
	if err := conn.Object("org.bluez", "/org/bluez/hci0").Call("org.bluez.Adapter1.StartDiscovery", 0).Err; err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with the connection
		defer close(done)
		for s := range signals {
			if len(s.Body) < 2 { // NameAcquired comes without a match
				continue
			}
			if values, _ := s.Body[1].(map[string]dbus.Variant); values["ServicesResolved"].Value() == true {
				subscribe(t, conn)
			}
		}
	}()
	t.Cleanup(func() { // runs before Connect's
		_ = conn.Close()
		<-done
	})
}

func subscribe(t *testing.T, conn *dbus.Conn) {
	var objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant
	if err := conn.Object("org.bluez", "/").Call("org.freedesktop.DBus.ObjectManager.GetManagedObjects", 0).Store(&objects); err != nil {
		t.Error(err)
		return
	}
	for path, ifaces := range objects {
		if c := ifaces["org.bluez.GattCharacteristic1"]; c != nil && c["UUID"].Value() == counterUUID {
			if err := conn.Object("org.bluez", path).Call("org.bluez.GattCharacteristic1.StartNotify", 0).Err; err != nil {
				t.Error(err)
			}
		}
	}
}

// TestRuuviSensor runs a whole application from PyPI; what it checks is in ruuvi_sensor.py.
func TestRuuviSensor(t *testing.T) {
	t.Parallel()
	bus := harness.Demo(t)
	// Where CI is set, the library uses a dummy; this variable makes it use the real bus.
	p := harness.Start(t, append(bus.Env(), "RUUVI_BLE_ADAPTER=bleak"), harness.Python(t),
		harness.Path(t, "tests", "clients", "ruuvi_sensor.py"), harness.Path(t, "internal", "proxysim", "demo.json"))
	if status := p.Wait(t, limit); status != 0 {
		t.Fatalf("status %d:\n%s%s", status, p.Out, p.Err)
	}
	t.Log(p.Out.Expect(t, `\d+ measurements as sent: .*`)[0])
}
