// Package dbustest starts message buses for tests: the real dbus-daemon, private to one
// test, on a socket in a folder of its own, allowing everything.
package dbustest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// config allows everything to everybody, with the limits of a session bus.
const config = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_incoming_bytes">1000000000</limit>
  <limit name="max_outgoing_bytes">1000000000</limit>
  <limit name="max_message_size">1000000000</limit>
  <limit name="max_connections_per_user">4096</limit>
  <limit name="max_completed_connections">4096</limit>
  <limit name="max_match_rules_per_connection">4096</limit>
  <limit name="max_replies_per_connection">100000</limit>
</busconfig>
`

// Start starts a bus that ends with the test and returns its address.
func Start(t testing.TB) string {
	t.Helper()
	address, _ := StartStoppable(t)
	return address
}

// StartStoppable starts a bus that ends with the test or when stop is called.
func StartStoppable(t testing.TB) (address string, stop func()) {
	t.Helper()
	return StartIn(t, Folder(t))
}

// Folder makes a folder for StartIn, which goes with the test.
func Folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dbus") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// StartIn is StartStoppable with the socket in dir, in place of that of a bus that was stopped.
func StartIn(t testing.TB, dir string) (address string, stop func()) {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is not installed (apt install dbus-daemon)")
	}
	_ = os.Remove(filepath.Join(dir, "bus"))
	file := filepath.Join(dir, "conf")
	conf := strings.ReplaceAll(config, "SOCKET", filepath.Join(dir, "bus"))
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("dbus-daemon", "--config-file="+file, "--nofork", "--print-address=3")
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatalf("cannot start dbus-daemon: %v", err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(stop)
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("cannot read the address of dbus-daemon: %v", err)
	}
	address, _, _ = strings.Cut(strings.TrimSpace(line), ",guid=")
	return address, stop
}
