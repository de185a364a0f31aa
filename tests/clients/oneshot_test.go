package clients

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"bluez-esphome/tests/harness"
)

const (
	lock     = "E1:5D:0A:10:00:03" // the demo's device that wants to be paired
	stranger = "00:11:22:33:44:55"
)

// A shot is one run of bluetoothctl. Exit statuses and texts are those of a run against bluetoothd without -E, which
// has no AdvertisementMonitorManager1; they were recorded with a build of this program without that interface.
type shot struct {
	command string
	status  int
	out     string        // a pattern
	least   time.Duration // that it takes
}

var shots = []shot{
	{"list", 0, `Controller [0-9A-F:]{17} .* \[default\]`, 0},
	{"show", 0, `Powered: yes`, 0},
	{"power off", 0, `Changing power off succeeded`, 0},
	{"power on", 0, `Changing power on succeeded`, 0},
	{"system-alias upstairs", 0, `Changing upstairs succeeded`, 0},
	{"show", 0, `Alias: upstairs`, 0},
	{"reset-alias", 0, `succeeded`, 0},
	{"discoverable on", 0, `Changing discoverable on succeeded`, 0},
	{"discoverable-timeout 60", 0, `Changing discoverable-timeout 60 succeeded`, 0},
	{"pairable off", 0, `Changing pairable off succeeded`, 0},
	{"scan off", 1, `Failed to stop discovery: org\.bluez\.Error\.Failed`, 0},
	{"--timeout 2 scan on", 0, `Discovery started`, 2 * time.Second},
	{"--timeout 3 scan le", 0, `Device `, 3 * time.Second},
	{"devices", 0, `Device ` + pulse + ` Pulse HR-1`, 0},
	{"info " + pulse, 0, `Name: Pulse HR-1`, 0},
	{"info " + stranger, 1, `not available`, 0},
	{"trust " + pulse, 0, `trust succeeded`, 0},
	{"untrust " + pulse, 0, `untrust succeeded`, 0},
	{"connect " + pulse, 0, `Connection successful`, 0},
	{"devices Connected", 0, `Device ` + pulse, 0},
	{"connect " + pulse, 0, `Connection successful`, 0},
	{"set-alias wrist", 0, `Changing wrist succeeded`, 0},
	{"info " + pulse, 0, `Alias: wrist`, 0},
	{"gatt.list-attributes " + pulse, 0, greetingUUID, 0},
	{"disconnect " + pulse, 0, `Successful disconnected|Disconnection successful`, 0},
	{"info " + pulse, 0, `Connected: no`, 0},
	{"disconnect " + pulse, 0, `Successful disconnected|Disconnection successful`, 0}, // there is no link
	{"block " + pulse, 0, `block succeeded`, 0},
	{"connect " + pulse, 1, `Failed to connect: org\.bluez\.Error\.Failed`, 0},
	{"unblock " + pulse, 0, `unblock succeeded`, 0},
	{"connect " + stranger, 1, `not available`, 0},
	{"--timeout 3 scan le", 0, `Discovery started`, 3 * time.Second},
	{"pair " + lock, 0, `Pairing successful`, 0},
	{"info " + lock, 0, `Paired: yes`, 0},
	{"devices Paired", 0, `Device ` + lock, 0},
	{"pair " + lock, 1, `Failed to pair: org\.bluez\.Error\.AlreadyExists`, 0},
	{"disconnect " + lock, 0, `Successful disconnected|Disconnection successful`, 0},
	{"--agent NoInputNoOutput connect " + lock, 0, `Connection successful`, 0},
	{"--timeout 2 disconnect " + lock, 0, `Successful disconnected|Disconnection successful`, 0},
	{"agent on", 0, ``, 0},
	{"advertise on", 1, `Failed to register advertisement: org\.bluez\.Error\.NotPermitted`, 0},
	{"--timeout 3 monitor.add-or-pattern 0 1 06", 0, `Advertisement monitor 0 activated`, 3 * time.Second},
	{"connect " + lock, 0, `Connection successful`, 0},
	{"remove " + lock, 0, `Device has been removed`, 0},
	{"info " + lock, 1, `not available`, 0},
	{"remove " + stranger, 1, `not available`, 0},
}

func (s shot) run(t *testing.T, bus *harness.Bus, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, strings.Fields(s.command)...)
	cmd.Env = append(os.Environ(), bus.Env()...)
	begun := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(begun)
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	status := cmd.ProcessState.ExitCode()
	t.Logf("%-42s status %d, %4d ms", s.command, status, took.Milliseconds())
	if status != s.status || !regexp.MustCompile(s.out).Match(out) || took < s.least {
		t.Fatalf("bluetoothctl %s: status %d after %s, want %d with %q after at least %s:\n%s", s.command, status, took, s.status, s.out, s.least, out)
	}
}

// TestOneShot runs "bluetoothctl COMMAND" for command after command: each waits for its result and ends with its
// status.
func TestOneShot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		find func(t *testing.T) (path, missing string)
	}{
		{"installed", func(*testing.T) (string, string) {
			path, err := exec.LookPath("bluetoothctl")
			if err != nil {
				return "", "bluetoothctl is not installed"
			}
			return path, ""
		}},
		{"newer", newerBluetoothctl},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path, missing := c.find(t)
			if missing != "" {
				t.Skip(missing)
			}
			bus := harness.Demo(t)
			version, _ := exec.Command(path, "--version").Output()
			t.Logf("%s", version)
			client := bus.Client(t)
			for _, s := range shots {
				if strings.HasPrefix(s.command, "gatt.") { // Connect does not wait for the services
					client.Until(pulsePath, "org.bluez.Device1", "ServicesResolved", true)
				}
				s.run(t, bus, path)
			}
		})
	}
}

// TestOneShotScanGoesOn: "bluetoothctl scan on" of up to 5.73 discovers until it is ended.
func TestOneShotScanGoesOn(t *testing.T) {
	t.Parallel()
	if version, missing := printed(`(\d+\.\d+)`, "bluetoothctl", "--version")(t); missing != "" || version > "5.73" {
		t.Skipf("it is about bluetoothctl up to 5.73, and there is %s%s (run it on Debian 12)", version, missing)
	}
	bus := harness.Demo(t)
	p := harness.StartTerminal(t, bus.Env(), "bluetoothctl", "scan", "on")
	p.Out.Expect(t, `Discovery started`)
	p.Out.Expect(t, `\[NEW\] Device `+pulse)
	client := bus.Client(t)
	client.Until("/org/bluez/hci0", "org.bluez.Adapter1", "Discovering", true)
	select {
	case <-p.Done():
		t.Fatal("it ended by itself")
	default:
	}
	p.Signal(t, syscall.SIGTERM)
	client.Until("/org/bluez/hci0", "org.bluez.Adapter1", "Discovering", false)
}

// newerBluetoothctl unpacks that of a newer Debian, in dist/.
func newerBluetoothctl(t *testing.T) (path, missing string) {
	cmd := exec.Command("sh", harness.Path(t, "scripts", "newer-bluez.sh"))
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		return "", "the bluetoothctl of a newer Debian cannot be had here: " + lines[len(lines)-1]
	}
	return strings.TrimSpace(string(out)), ""
}
