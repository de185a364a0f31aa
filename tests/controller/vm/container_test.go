package vm

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"bluez-esphome/tests/harness"
)

// containerUser is the daemon's user and group in the container, and the group of the device.
const containerUser = 990

// bundle makes the OCI bundle that podman and Docker make for run --device /dev/vhci --read-only --cap-drop all
// --network host --user 990:990 IMAGE, if the image has only the daemon.
func (m *machine) bundle(device bool) string {
	m.t.Helper()
	dir := m.t.TempDir()
	for _, sub := range []string{"rootfs/proc", "rootfs/dev", "rootfs/tmp", "rootfs/data"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	copyFile(m.t, harness.Binary(), filepath.Join(dir, "rootfs/bluez-esphome"), 0o755)
	type object = map[string]any
	type list = []any
	linux := object{
		// There is no network namespace: the simulated proxies are on this machine's loopback.
		"namespaces": list{object{"type": "pid"}, object{"type": "ipc"}, object{"type": "uts"}, object{"type": "mount"}, object{"type": "cgroup"}},
		"resources":  object{"devices": list{object{"allow": false, "access": "rwm"}}},
	}
	if device {
		linux["devices"] = list{object{"path": "/dev/vhci", "type": "c", "major": 10, "minor": 137, "fileMode": 0o660, "uid": 0, "gid": containerUser}}
		linux["resources"] = object{"devices": list{object{"allow": false, "access": "rwm"},
			object{"allow": true, "type": "c", "major": 10, "minor": 137, "access": "rw"}}}
	}
	text, err := json.Marshal(object{
		"ociVersion": "1.0.2",
		"process": object{
			"user":         object{"uid": containerUser, "gid": containerUser},
			"args":         list{"/bluez-esphome", "run", "--config", "/data/config.yaml"},
			"env":          list{"PATH=/"},
			"cwd":          "/",
			"capabilities": object{"bounding": list{}, "effective": list{}, "permitted": list{}}, "noNewPrivileges": true,
		},
		"root": object{"path": "rootfs", "readonly": true},
		"mounts": list{
			object{"destination": "/proc", "type": "proc", "source": "proc"},
			object{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": list{"nosuid", "mode=755"}},
			object{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
			object{"destination": "/data", "type": "bind", "source": m.dir, "options": list{"rbind", "rw"}},
		},
		"linux": linux,
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return dir
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, mode)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if closing := out.Close(); err == nil {
		err = closing
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestContainer: without any capability, the daemon in an OCI container that has /dev/vhci makes a controller of the
// host.
func TestContainer(t *testing.T) {
	m := prepare(t, "vhci: true")
	m.configure("/data/state")
	for _, path := range []string{m.dir, m.config} {
		if err := os.Chown(path, containerUser, containerUser); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string, device bool) *harness.Proc {
		// The machine's root is an initramfs, on which pivot_root(2) fails.
		return harness.Start(m.t, nil, "crun", "run", "--no-pivot", "--bundle", m.bundle(device), name)
	}
	m.step("without the device: it says why", func() {
		p := run("without", false)
		p.Err.ExpectIn(m.t, `A controller is not there yet.*/dev/vhci: no such file or directory.*--device /dev/vhci`, limit)
		p.Stop(m.t)
	})
	m.daemon = run("with", true)
	m.step("with it: hci0", func() {
		m.daemon.Err.ExpectIn(m.t, `A host uses the controller.*hci0`, limit)
		m.exists(0, true)
	})
	m.serve()
	m.step("bluetoothd of the host connects and pairs", func() {
		m.connect(0)
		m.pair(0)
		m.encrypted(0)
		m.disconnect(0)
	})
	m.step("the controller goes with the container", func() {
		m.daemon.Stop(m.t)
		m.exists(0, false)
	})
}
