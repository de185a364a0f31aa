package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// answerTimeout is how long a process may take to print an expected line.
const answerTimeout = 90 * time.Second

// process is a process that reads and writes lines.
type process struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // closed at the end of its output
	err   *lastLines
	http  string // HOST:PORT at which it answers HTTP, if it does
}

// spawn starts a process, which ends with this one at the latest.
func spawn(ctx context.Context, env []string, name string, args ...string) (*process, error) {
	p := &process{name: filepath.Base(name), cmd: exec.Command(name, args...), lines: make(chan string, 64), err: &lastLines{}}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = p.err
	p.cmd.WaitDelay = time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.in = in
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	return p, nil
}

// pid is the process ID.
func (p *process) pid() int { return p.cmd.Process.Pid }

// say writes a line to the input of the process.
func (p *process) say(line string) error {
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		return p.failed(err)
	}
	return nil
}

// line waits for the next line.
func (p *process) line(ctx context.Context) (string, error) {
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	select {
	case l, ok := <-p.lines:
		if !ok {
			return "", p.failed(errors.New("it ended"))
		}
		return l, nil
	case <-timer.C:
		return "", p.failed(fmt.Errorf("no answer within %v", answerTimeout))
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// expect waits for a line that begins with the word, and gives the rest of it.
func (p *process) expect(ctx context.Context, word string) (string, error) {
	for {
		l, err := p.line(ctx)
		if err != nil {
			return "", err
		}
		if first, rest, _ := strings.Cut(l, " "); first == word {
			return rest, nil
		}
	}
}

func (p *process) failed(err error) error {
	return fmt.Errorf("%s: %w\n%s", p.name, err, p.err)
}

// stop ends the process: first its input, then SIGTERM, then SIGKILL to its group.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.in.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(10*time.Second, func() { _ = syscall.Kill(-p.pid(), syscall.SIGKILL) })
	defer kill.Stop()
	for range p.lines { // read on until its output ends
	}
	_ = p.cmd.Wait()
}

// cpu is the user and system CPU time that all threads of a process have used so far, with a resolution of nanoseconds:
// its CPU-time clock (clock_getcpuclockid(3)).
func cpu(pid int) (time.Duration, error) {
	const schedClock = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &ts); err != nil {
		return 0, fmt.Errorf("cannot read the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// rss is the resident memory of a process in MiB.
func rss(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(b)) {
		if f := strings.Fields(l); len(f) == 3 && f[0] == "VmRSS:" {
			kib, err := strconv.ParseFloat(f[1], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("cannot read the memory of process %d: no VmRSS", pid)
}

// lastLines keeps the end of a process's standard error.
type lastLines struct {
	mu   sync.Mutex
	text []byte // under mu
}

func (l *lastLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	if over := len(l.text) - 4096; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(b), nil
}

func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
