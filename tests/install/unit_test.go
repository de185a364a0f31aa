package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"
)

// mostExposed is the highest exposure that systemd-analyze security may report for our units, from 0 (safe) to 10.
const mostExposed = 2.0

var units = []string{"bluez-esphome.service", "bluez-esphome-private.service", "bluez-esphome-controller.service"}

var exposure = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

// TestUnits has systemd-analyze check the units and rate their exposure.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed (apt install systemd)")
	}
	for _, unit := range units {
		t.Run(unit, func(t *testing.T) {
			path := harness.Path(t, "systemd", unit)
			// systemd-analyze fails if the exposure is above the threshold, which is in tenths.
			out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold="+strconv.Itoa(mostExposed*10), path).CombinedOutput()
			m := exposure.FindSubmatch(out)
			if m == nil {
				t.Fatalf("cannot tell the exposure: %v\n%s", err, out)
			}
			if level, perr := strconv.ParseFloat(string(m[1]), 64); err != nil || perr != nil || level > mostExposed {
				t.Errorf("exposure %s, want at most %v (%v)", m[1], mostExposed, err)
			}
			// The exposure depends on the version of systemd. The table has that of Debian 12.
			if row := "| " + unit + " | " + string(m[1]) + " |"; !strings.Contains(operations(t), row) && systemd252() {
				t.Errorf("docs/operations.md has no line %q", row)
			}
			verify(t, unit)
		})
	}
}

func operations(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(harness.Path(t, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func systemd252() bool {
	out, err := exec.Command("systemd-analyze", "--version").Output()
	return err == nil && strings.HasPrefix(string(out), "systemd 252 ")
}

// TestReload checks what systemctl reload does: it signals the daemon, which reads its file itself and reports
// mistakes. The command that signals it has no privilege that the daemon lacks: no "+" or "!" stands before it, and it
// runs as the same user.
func TestReload(t *testing.T) {
	t.Parallel()
	for _, unit := range units {
		steps := regexp.MustCompile(`(?m)^ExecReload=(.*)$`).FindAllStringSubmatch(unitText(t, unit), -1)
		if len(steps) != 1 || steps[0][1] != "/usr/bin/bluez-esphome reload --pid $MAINPID" {
			t.Errorf("%s reloads by %q", unit, steps)
		}
	}
}

func unitText(t *testing.T, unit string) string {
	t.Helper()
	b, err := os.ReadFile(harness.Path(t, "systemd", unit))
	if err != nil {
		t.Fatal(err)
	}
	return "\n" + string(b)
}

// TestRestart: systemd starts the daemon again after a crash or an end by the watchdog (status 2). It does not do so
// after a mistake in the configuration (status 3), or if another program owns the name on the system bus (4): neither
// goes away by itself. On the private bus no other program owns the name for long, and systemd tries again for ever.
func TestRestart(t *testing.T) {
	t.Parallel()
	for unit, lines := range map[string][]string{
		"bluez-esphome.service":            {"RestartPreventExitStatus=3 4"},
		"bluez-esphome-private.service":    {"RestartPreventExitStatus=3", "StartLimitIntervalSec=0"},
		"bluez-esphome-controller.service": {"RestartPreventExitStatus=3", "StartLimitIntervalSec=0"},
	} {
		for _, line := range append(lines, "Restart=on-failure", "WatchdogSec=30") {
			if !strings.Contains(unitText(t, unit), "\n"+line+"\n") {
				t.Errorf("%s lacks %s", unit, line)
			}
		}
	}
}

// TestPrivileges: the daemon has its own user, no capability and no way to get one, and it dumps no core.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	for _, unit := range units {
		b, err := os.ReadFile(harness.Path(t, "systemd", unit))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{
			"User=bluez-esphome", "CapabilityBoundingSet=", "AmbientCapabilities=", "NoNewPrivileges=yes",
			"RestrictSUIDSGID=yes", "LimitCORE=0", "UMask=0077", "StateDirectoryMode=0700",
		} {
			if !strings.Contains("\n"+string(b), "\n"+line+"\n") {
				t.Errorf("%s has no line %s", unit, line)
			}
		}
	}
}

// TestDevice: the unit with controllers may use one device, which the udev rule gives to the unit's group. The other
// units may use none.
func TestDevice(t *testing.T) {
	t.Parallel()
	controller := unitText(t, "bluez-esphome-controller.service")
	for _, line := range []string{"DevicePolicy=closed", "DeviceAllow=/dev/vhci rw", "Group=bluez-esphome"} {
		if !strings.Contains(controller, "\n"+line+"\n") {
			t.Errorf("the controller's unit has no line %s", line)
		}
	}
	for _, unit := range units {
		text := unitText(t, unit)
		if own := unit == "bluez-esphome-controller.service"; strings.Contains(text, "\nDeviceAllow=") != own || strings.Contains(text, "\nPrivateDevices=yes\n") == own {
			t.Errorf("the devices of %s are not what they are to be", unit)
		}
	}
	rule, err := os.ReadFile(harness.Path(t, "systemd", "vhci.rules"))
	if err != nil {
		t.Fatal(err)
	}
	if want := `KERNEL=="vhci", SUBSYSTEM=="misc", GROUP="bluez-esphome", MODE="0660", OPTIONS+="static_node=vhci"`; !strings.Contains(string(rule), "\n"+want+"\n") {
		t.Errorf("the udev rule is not %s", want)
	}
}

// TestGroups: those who may use the private bus may not read the configuration.
func TestGroups(t *testing.T) {
	t.Parallel()
	private, system := unitText(t, "bluez-esphome-private.service"), unitText(t, "bluez-esphome.service")
	for _, line := range []string{"Group=bluez-esphome-bus", "SupplementaryGroups=bluez-esphome", "RuntimeDirectoryMode=0750"} {
		if !strings.Contains(private, "\n"+line+"\n") {
			t.Errorf("the private unit has no line %s", line)
		}
	}
	if !strings.Contains(system, "\nGroup=bluez-esphome\n") || strings.Contains(system, "RuntimeDirectory") {
		t.Error("the unit of the system bus has another group, or a folder")
	}
	for file, want := range map[string]string{
		"systemd/sysusers.conf": "\ng bluez-esphome-bus -\n", "scripts/deb/postinst": "chown root:bluez-esphome /etc",
	} {
		b, err := os.ReadFile(harness.Path(t, filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), want) {
			t.Errorf("%s has no %q", file, want)
		}
	}
}

// verify runs systemd-analyze verify on a copy of the unit that names another program: ours may not be installed here.
func verify(t *testing.T, unit string) {
	dir := t.TempDir()
	for _, u := range units {
		b, err := os.ReadFile(harness.Path(t, "systemd", u))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(b), "/usr/bin/bluez-esphome ", "/bin/true ")
		if err := os.WriteFile(filepath.Join(dir, u), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// It also reads units of this host, which may have mistakes of their own.
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", filepath.Join(dir, unit)).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "bluez-esphome") {
			t.Errorf("systemd-analyze verify (%v): %s", err, line)
		}
	}
}
