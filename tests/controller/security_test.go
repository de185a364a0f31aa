package controller

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"
)

const unixHCI = "unix: PLACE/hci.sock"

// python starts a host, a Python script of this folder, on the controller of unixHCI.
func (w *world) python(t *testing.T, script string, args ...string) *harness.Proc {
	t.Helper()
	args = append([]string{harness.Path(t, "tests", "controller", script), "unix:" + filepath.Join(w.place.Dir, "hci.sock")}, args...)
	return harness.Start(t, w.place.Env(), harness.Python(t), args...)
}

func (w *world) security(t *testing.T, what string, steps ...string) {
	t.Helper()
	passes(t, w.python(t, "security_client.py", w.control, filepath.Join(w.place.Dir, "keys.json"), what), steps...)
}

// TestKeys: a host pairs by legacy pairing and by Secure Connections, with and without bonding. It comes back with its
// keys, also after a restart of the daemon, and is refused with other keys. Only the daemon's user can read the keys
// that the daemon stores.
func TestKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unixHCI)
	w.security(t, "pair", "pair legacy", "false legacy", "unbonded legacy", "pair secure", "false secure", "unbonded secure")
	w.daemon.Stop(t)
	state := filepath.Join(w.state(), "state.json")
	if info, err := os.Stat(state); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the state: %v, %v", info, err)
	}
	if b, err := os.ReadFile(state); err != nil || !strings.Contains(string(b), `"ltk"`) {
		t.Errorf("no key is kept in the state: %v", err)
	}
	w.start(t)
	w.security(t, "again", "again")
}

// TestRefusedPairing: pairing with a peripheral that requires a passkey fails, and the host is told why.
func TestRefusedPairing(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(recorded(t))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "peripherals.json")
	refusing := strings.Replace(string(b), `"id": "main",`, `"id": "main", "pair_error": 3,`, 1)
	if err := os.WriteFile(file, []byte(refusing), 0o600); err != nil {
		t.Fatal(err)
	}
	newWorldOf(t, file, unixHCI).security(t, "refused", "refused")
}

// TestChangedDatabase: when the GATT database of a peripheral changes, with a link or without one, the host gets a
// Service Changed indication. It never gets the value of one characteristic under the UUID of another one.
func TestChangedDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unixHCI)
	passes(t, w.python(t, "changed_client.py", w.peripherals, w.control), "linked", "away", "same")
}
