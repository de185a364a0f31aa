package faults

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// TestDescriptors leaves the daemon without free file descriptors while its proxies restart and clients want pipes. The
// daemon says why it cannot connect, does not spin, and goes on when there are descriptors again.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bus := w.start("private")
	pid := bus.Daemon.PID()
	c := newClient(t, bus)
	c.connect(0)
	w.eventually("two sessions", func() bool { return w.sessions() == 2 })

	var limit unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}, nil); err != nil {
		t.Fatal(err)
	}
	// Open descriptors stay open: a link that is up works, but no pipe can be made.
	c.Call(devicePath(0)+register, charIface+".ReadValue", map[string]dbus.Variant{})
	if err := c.Try(devicePath(0)+numbers, charIface+".AcquireNotify", map[string]dbus.Variant{}).Err; err == nil {
		t.Error("a pipe was made without descriptors")
	}
	for _, p := range w.sim.Proxies() {
		p.DropClients()
	}
	log := bus.Daemon.Err
	log.Expect(t, `msg="Cannot use the proxy".*too many open files.*`)
	before := cpu(t, pid)
	const watched = 5 * time.Second
	timer := time.NewTimer(watched)
	<-timer.C
	if used := cpu(t, pid) - before; used > watched/4 {
		t.Errorf("it used %v of CPU in %v", used, watched)
	}
	c.Call(adapterPath, properties+".Get", adapterIface, "Address") // it still answers

	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	w.eventually("two sessions again", func() bool { return w.sessions() == 2 })
	c.connect(0)
	var (
		fd  dbus.UnixFD
		mtu uint16
	)
	if err := c.Call(devicePath(0)+numbers, charIface+".AcquireNotify", map[string]dbus.Variant{}).Store(&fd, &mtu); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(int(fd))
	if n := log.Count(`Cannot use the proxy`); n > 40 {
		t.Errorf("%d complaints", n)
	}
}

var statFields = regexp.MustCompile(`\) \S((?: \S+)+)`)

// cpu is the CPU time of a process in ticks of 10 ms.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := statFields.FindSubmatch(b)
	if m == nil {
		t.Fatalf("%s", b)
	}
	var user, system int
	fields := regexp.MustCompile(`\S+`).FindAllString(string(m[1]), -1)
	user, err = strconv.Atoi(fields[10])
	if err == nil {
		system, err = strconv.Atoi(fields[11])
	}
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
