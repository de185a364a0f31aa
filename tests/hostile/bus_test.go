package hostile

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// nobody is the uid of a local user who may use the bus.
const nobody = 65534

// connectAs connects to a unix socket as the user with that id: the kernel tells the other side whose thread connected.
func connectAs(uid int, path string) (net.Conn, error) {
	if uid == os.Getuid() {
		return net.Dial("unix", path)
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine, and with it the other identity
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			done <- result{err: errno}
			return
		}
		conn, err := net.Dial("unix", path)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// squat tries to own org.bluez on the bus at path as often as it can until ctx ends. It gives the number of times that
// it succeeded.
func squat(ctx context.Context, uid int, path string) (won int) {
	for ctx.Err() == nil {
		raw, err := connectAs(uid, path)
		if err != nil {
			runtime.Gosched()
			continue
		}
		conn, err := dbus.NewConn(raw)
		if err != nil {
			_ = raw.Close()
			continue
		}
		if conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(uid))}) != nil || conn.Hello() != nil {
			_ = conn.Close()
			continue
		}
		tick := time.NewTicker(time.Millisecond)
		// It waits in the queue if it may, to be org.bluez when the daemon is gone.
		for ctx.Err() == nil && conn.Connected() {
			reply, err := conn.RequestName("org.bluez", dbus.NameFlagAllowReplacement)
			if err == nil && reply == dbus.RequestNameReplyPrimaryOwner {
				won++
				break
			}
			if err != nil && !conn.Connected() {
				break
			}
			<-tick.C
		}
		tick.Stop()
		_ = conn.Close()
	}
	return won
}

// TestBusOwner: users of the private bus, the daemon's own user among them, try to be org.bluez at every moment: before
// the daemon, when its dbus-daemon was killed, and when the daemon was killed and started again. Nobody is, and the
// daemon is each time.
func TestBusOwner(t *testing.T) {
	place := harness.NewPlace(t)
	users := []int{os.Getuid()}
	if os.Getuid() == 0 {
		users = append(users, nobody)
		if err := os.Chmod(place.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
	} else {
		t.Log("not root: the attackers are of this user only")
	}
	path := filepath.Join(place.Dir, "bluez-esphome", "bus")
	ctx, cancel := context.WithCancel(t.Context())
	var attackers sync.WaitGroup
	for _, uid := range users {
		for range 2 {
			attackers.Go(func() {
				if won := squat(ctx, uid, path); won > 0 {
					t.Errorf("uid %d was org.bluez %d times", uid, won)
				}
			})
		}
	}
	defer attackers.Wait()
	defer cancel()
	config := filepath.Join(place.Dir, "config.yaml")
	if err := os.WriteFile(config, []byte("proxies: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		daemon := harness.Start(t, place.Env(), harness.Binary(), "run", "--config", config, "--bus", "private")
		daemon.Err.Expect(t, `msg="org.bluez is ours"`)
		owned := func() (bus int) {
			t.Helper()
			conn, err := dbus.Connect("unix:path=" + path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			pid := func(name string) (pid uint32) {
				if err := conn.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, name).Store(&pid); err != nil {
					t.Fatal(err)
				}
				return pid
			}
			if got := pid("org.bluez"); got != uint32(daemon.PID()) {
				t.Fatalf("org.bluez is process %d, not %d", got, daemon.PID())
			}
			return int(pid("org.freedesktop.DBus"))
		}
		if err := unix.Kill(owned(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		daemon.Err.Expect(t, `Lost the bus`)
		daemon.Err.Expect(t, `msg="org.bluez is ours again"`)
		bus := owned()
		daemon.Signal(t, unix.SIGKILL)
		daemon.Wait(t, harness.Limit)
		harness.Eventually(t, harness.Limit, "dbus-daemon ends with its daemon", func() bool { return unix.Kill(bus, 0) == unix.ESRCH || zombie(bus) })
	}
}

// zombie reports whether a process has ended and only its parent does not know yet.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(b), ") ")
	return err != nil || strings.HasPrefix(state, "Z")
}
