package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bluez-esphome/tests/harness"
)

// session runs a program that reads commands. It sends each command and waits for the output that belongs to it, and
// closes the program's input at the end.
func (m *machine) session(program string, args []string, steps ...[2]string) string {
	m.t.Helper()
	p := harness.Start(m.t, nil, program, args...)
	for _, s := range steps {
		if s[0] != "" {
			p.Send(m.t, s[0])
		}
		if s[1] != "" {
			p.Out.ExpectIn(m.t, s[1], limit)
		}
	}
	p.Stop(m.t)
	return p.Out.String()
}

// btmgmt runs btmgmt and keeps its input open: btmgmt ends when its input does.
func (m *machine) btmgmt(args ...string) string {
	m.t.Helper()
	p := harness.Start(m.t, nil, "btmgmt", append([]string{"--index", "0"}, args...)...)
	p.Wait(m.t, limit)
	return p.Out.String()
}

// TestTools runs the programs that come with BlueZ, also those that open the controller themselves.
func TestTools(t *testing.T) {
	m := setup(t, "vhci: true")
	capture := filepath.Join(m.dir, "btmon.btsnoop")
	btmon := harness.Start(t, nil, "btmon", "-w", capture)
	m.step("hciconfig", func() {
		m.output("hciconfig", "hci0", "up")
		// The option -a would fail: a controller without BR/EDR has no name and no class.
		m.contains(m.output("hciconfig", "hci0"), "UP RUNNING", "ACL MTU: 251:8")
		m.contains(m.output("hciconfig", "hci0", "version"), "HCI Version: 5.0")
		m.output("hciconfig", "hci0", "features")
		m.output("hciconfig", "hci0", "reset")
	})
	m.step("hcitool lescan, passive", func() {
		scan := harness.Start(m.t, nil, "hcitool", "lescan", "--passive", "--duplicates")
		scan.Out.ExpectIn(m.t, mainAddress, limit)
		scan.Out.ExpectIn(m.t, "C4:11:22:33:44:55", limit)
		scan.Stop(m.t)
	})
	m.step("hcitool lecc, con and ledc", func() {
		handle := m.output("hcitool", "lecc", mainAddress)
		m.contains(handle, "Connection handle ")
		m.contains(m.output("hcitool", "con"), mainAddress)
		m.output("hcitool", "ledc", strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(handle), "Connection handle ")))
	})
	m.step("hcitool accept list and commands", func() {
		m.contains(m.output("hcitool", "lewlsz"), "16")
		m.output("hcitool", "lewladd", mainAddress)
		m.output("hcitool", "lewlrm", mainAddress)
		m.output("hcitool", "lewlclr")
		m.contains(m.output("hcitool", "cmd", "0x08", "0x0018"), "HCI Event")
	})
	m.step("gatttool", func() {
		m.contains(m.output("gatttool", "-b", mainAddress, "--primary"), "a5a50100-1000-4000-8000-00805f9b0001")
		m.contains(m.output("gatttool", "-b", mainAddress, "--characteristics"), "a5a50101-1000-4000-8000-00805f9b0001")
		m.contains(m.output("gatttool", "-b", mainAddress, "--char-read", "-a", "0x1a"), "68 65 6c 6c 6f")
		m.contains(m.output("gatttool", "-b", mainAddress, "--char-write-req", "-a", "0x1d", "-n", "0102"), "written successfully")
		m.wrote(29, []byte{1, 2})
		m.contains(m.output("gatttool", "-b", mainAddress, "--char-read", "-u", "2a00"), "47 6f 6c 64 65 6e")
	})
	m.serve()
	m.step("btmgmt", func() {
		m.contains(m.btmgmt("info"), "current settings: powered", "le")
		m.contains(m.btmgmt("find", "-l"), mainAddress, "GoldenTest1")
	})
	m.step("bluetoothctl", func() {
		m.session("bluetoothctl", nil, [2]string{"", "Agent registered"}, [2]string{"scan le", "Discovery started"}, [2]string{"", "GoldenTest1"},
			[2]string{"connect " + mainAddress, "Connection successful"}, [2]string{"", "ServicesResolved: yes"},
			[2]string{"gatt.select-attribute " + string(on(0, "/service0018/char0019")), ""}, [2]string{"gatt.read", "68 65 6c 6c 6f"},
			[2]string{"pair " + mainAddress, "Pairing successful"}, [2]string{"disconnect " + mainAddress, "(?i)successful disconnected|Disconnection successful"},
			[2]string{"remove " + mainAddress, "has been removed"})
	})
	m.step("bleak", func() {
		m.contains(m.output("python3", filepath.Join(hostFolder, "bleak_client.py"), filepath.Join(m.dir, "control", "main.sock")), "FOUND GoldenTest1", "READ hello", "GOT aabbcc", "DONE")
	})
	m.step("btmon", func() {
		// btmon reads its own file. Version 5.66 crashes over ATT, and therefore only the beginning of its text counts.
		time.Sleep(time.Second)
		btmon.Stop(m.t)
		p := harness.Start(m.t, nil, "btmon", "-r", capture)
		p.Wait(m.t, limit)
		m.contains(p.Out.String(), "LE Create Connection", "LE Connection Complete", "LE Advertising Report", "ATT: ")
		b, err := os.ReadFile(capture)
		if err == nil {
			err = os.WriteFile(filepath.Join(hostFolder, "btmon.btsnoop"), b, 0o644)
		}
		if err != nil {
			m.t.Error(err)
		}
	})
}
