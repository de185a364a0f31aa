package harness

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// drain is how long the output is waited for after a process has ended: a grandchild may keep it open, but on a busy
// machine the last output may also just not have been read yet.
const drain = 20 * time.Second

// Proc is a running process whose output is read as it comes.
type Proc struct {
	// Out has standard output, Err standard error; on a terminal Out has both.
	Out, Err *Stream
	cmd      *exec.Cmd
	in       io.Writer
	done     chan struct{}
	status   int // valid once done is closed
}

// Start starts a process in a group of its own, with the environment of the test and in addition env ("NAME=value").
// The process is stopped at the end of the test; when the test itself is killed, it gets SIGTERM. Its output is logged
// if the test failed, and a data race that it reported fails the test.
func Start(t testing.TB, env []string, name string, args ...string) *Proc {
	t.Helper()
	p := newProc(env, name, args...)
	p.cmd.Stdout, p.cmd.Stderr = p.Out, p.Err
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = in
	p.start(t, name)
	return p
}

func newProc(env []string, name string, args ...string) *Proc {
	p := &Proc{Out: NewStream(), Err: NewStream(), cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	p.cmd.WaitDelay = drain
	return p
}

func (p *Proc) start(t testing.TB, name string) {
	t.Helper()
	started := make(chan error)
	go func() {
		// The process gets its Pdeathsig when the thread that started it ends, which must not be before.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		if started <- err; err != nil {
			return
		}
		defer close(p.done)
		err = p.cmd.Wait()
		p.status = p.cmd.ProcessState.ExitCode()
		if err != nil && p.status == 0 {
			p.status = -1
		}
		p.Out.End()
		p.Err.End()
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop(t)
		races := p.Err.Count("WARNING: DATA RACE") + p.Out.Count("WARNING: DATA RACE")
		if races > 0 {
			t.Errorf("%s: %d data races", name, races)
		}
		if p.Err.Count(`(?m)^panic: |^fatal error: `) > 0 {
			t.Errorf("%s: crashed", name)
		}
		if t.Failed() {
			p.log(t)
		}
	})
}

// log writes what the process printed to a file, and the last lines of it to the test's log.
func (p *Proc) log(t testing.TB) {
	t.Helper()
	command := strings.Join(append([]string{filepath.Base(p.cmd.Path)}, p.cmd.Args[1:]...), " ")
	text := fmt.Sprintf("%s\n--- output\n%s\n--- errors\n%s\n", command, p.Out, p.Err)
	f, err := os.CreateTemp(os.Getenv(LogsEnv), "process-*.log")
	if err == nil {
		_, err = f.WriteString(text)
		_ = f.Close()
	}
	if err != nil {
		t.Logf("%s: its output cannot be kept: %v", command, err)
		return
	}
	t.Logf("%.80s ended with:\n%s\nall that it printed: %s", command, tail(strings.TrimSpace(p.Out.String()+p.Err.String())), f.Name())
}

// Send writes a line to the process.
func (p *Proc) Send(t testing.TB, line string) {
	t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		t.Fatalf("cannot send %q: %v", line, err)
	}
}

// PID is the process id.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Descriptors counts the open descriptors of the process.
func (p *Proc) Descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Signal sends a signal to the process alone.
func (p *Proc) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

// Done is closed when the process has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Wait waits for the end and gives the exit status, -1 after a signal.
func (p *Proc) Wait(t testing.TB, limit time.Duration) int {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		t.Fatalf("%s still runs after %v", p.cmd.Path, limit)
	}
	return p.status
}

// Kill ends the process and its group with SIGKILL.
func (p *Proc) Kill(t testing.TB) {
	t.Helper()
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
	<-p.done
}

// Stop ends the process with SIGTERM; if it does not end, its whole group gets SIGKILL.
func (p *Proc) Stop(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(Limit)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		t.Errorf("%s did not stop within %v of SIGTERM", p.cmd.Path, Limit)
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}
