package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNothingListens: without http.listen and share.listen no port is open.
func TestNothingListens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bus := w.start("private")
	w.eventually("two sessions", func() bool { return w.sessions() == 2 })
	if ports := listening(t, bus.Daemon.PID()); len(ports) > 0 {
		t.Errorf("it listens on %v", ports)
	}
	bus.Daemon.Stop(t)
	// The test can tell: with both there are listeners.
	w.listen()
	bus = w.start("private")
	w.eventually("listeners", func() bool { return len(listening(t, bus.Daemon.PID())) >= 2 })
}

// listening gives the local addresses of a process's TCP sockets that listen.
func listening(t *testing.T, pid int) (out []string) {
	t.Helper()
	sockets := map[string]bool{}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, "socket:[") {
			sockets[strings.Trim(to, "socket:[]")] = true
		}
	}
	for _, file := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			const listen = "0A"
			if f := strings.Fields(line); len(f) > 9 && f[3] == listen && sockets[f[9]] {
				out = append(out, f[1])
			}
		}
	}
	return out
}

// TestNoCore: the daemon holds keys, so it leaves no core dump, whatever the limit was.
func TestNoCore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.launch("private", "sh", "-c", `ulimit -c unlimited 2>/dev/null || ulimit -c $(ulimit -H -c); exec "$@"`, "sh")
	d.Err.Expect(t, `msg="org.bluez is ours"`)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", d.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^Max core file size +[01] +[01] `).Match(b) {
		t.Errorf("%s", b)
	}
}
