package harness

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestKilled: whoever interrupts make test, or a test that hangs and is killed, leaves no process behind.
func TestKilled(t *testing.T) {
	const inside = "BLUEZ_ESPHOME_TEST_KILLED"
	if os.Getenv(inside) != "" {
		fmt.Println("started", Start(t, nil, "sleep", "600").PID())
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), inside+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for in := bufio.NewScanner(out); pid == 0 && in.Scan(); {
		if strings.HasPrefix(in.Text(), "started") {
			_, _ = fmt.Sscanf(in.Text(), "started %d", &pid)
		}
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		_ = cmd.Process.Kill()
		t.Fatalf("no process %d: %v", pid, err)
	}
	defer unix.Close(fd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	n := 0
	for end := time.Now().Add(Limit); n == 0 && time.Now().Before(end); { // a signal may interrupt it
		n, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(end).Milliseconds()))
	}
	if n != 1 {
		_ = unix.Kill(pid, unix.SIGKILL)
		t.Errorf("process %d goes on after the test that started it was killed", pid)
	}
}
