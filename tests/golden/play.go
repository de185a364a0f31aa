package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// scenario is one recording to compare with; length is how long it took, in ms.
type scenario struct {
	set, name string
	length    int64
}

// result is what came of it.
type result struct {
	scenario
	differing int
	missing   bool // nothing was recorded: the driver or the daemon broke
	lines     []string
}

func (r result) String() string {
	return fmt.Sprintf("%s (%s): %d differing lines\n%s", r.name, r.set, r.differing, strings.Join(r.lines, "\n"))
}

// player plays scenarios against one binary.
type player struct {
	bin, golden, python, work, out string
}

// length is the time of the last event of a recording.
func length(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var doc struct{ Events []struct{ T int64 } }
	if err := json.Unmarshal(b, &doc); err != nil {
		return 0, fmt.Errorf("cannot read %s: %w", path, err)
	}
	var last int64
	for _, e := range doc.Events {
		last = max(last, e.T)
	}
	return last, nil
}

// play records and compares the cases, lanes of them at a time; a scenario of several sets is recorded once.
func (p *player) play(ctx context.Context, cases []scenario, lanes int) ([]result, error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(lanes)
	var mu sync.Mutex
	seen := map[string]bool{}
	for _, c := range cases {
		if seen[c.name] {
			continue
		}
		seen[c.name] = true
		g.Go(func() error {
			note, err := p.record(gctx, c.name)
			mu.Lock()
			defer mu.Unlock()
			fmt.Printf("golden: %-45s %s\n", c.name, note)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []result
	for _, set := range sets {
		var names []string
		for _, c := range cases {
			if c.set == set {
				names = append(names, c.name)
			}
		}
		if len(names) == 0 {
			continue
		}
		rs, err := p.compare(ctx, set, names)
		if err != nil {
			return nil, err
		}
		out = append(out, rs...)
	}
	return out, nil
}

// scenarioLimit bounds one scenario: the longest waits of the driver add up to 2 minutes.
const scenarioLimit = 6 * time.Minute

// record plays one scenario with a proxy, bus and daemon of its own. The note says how it went; an error
// is only what makes everything else futile too.
func (p *player) record(ctx context.Context, name string) (note string, err error) {
	ctx, stop := context.WithTimeout(ctx, scenarioLimit)
	defer stop()
	dir, err := os.MkdirTemp(p.work, "l")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	env := append(os.Environ(), "XDG_RUNTIME_DIR="+dir, "HOME="+dir, "STATE_DIRECTORY=", "RUNTIME_DIRECTORY=", "NOTIFY_SOCKET=",
		"BLUEZ_ESPHOME_STATE_DIR="+filepath.Join(dir, "state"), "PYTHONDONTWRITEBYTECODE=1")
	peripherals := filepath.Join(p.golden, "peripheral.json")
	control := filepath.Join(dir, "c")
	if err := os.Mkdir(control, 0o700); err != nil {
		return "", err
	}

	sim, err := start(ctx, dir, "simulate", env, `listens on (\S+)`, p.bin, "simulate", "--peripherals", peripherals,
		"--proxy", "golden=127.0.0.1:0", "--control", control)
	if err != nil {
		return "", err
	}
	defer sim.stop()
	conf := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "proxies: [{name: golden, address: %q}]\n", sim.found), 0o600); err != nil {
		return "", err
	}
	daemon, err := start(ctx, dir, "daemon", env, `^DBUS_SYSTEM_BUS_ADDRESS=(\S+)`, p.bin, "run", "--config", conf, "--bus", "private")
	if err != nil {
		return "", err
	}
	defer daemon.stop()

	cmd := exec.CommandContext(ctx, p.python, filepath.Join(p.golden, "driver", "golden.py"), "record", "--only", name, "--out", p.out,
		"--peripheral", peripherals, "--control", "main="+filepath.Join(control, "main.sock"), "--control", "beacon="+filepath.Join(control, "beacon.sock"))
	cmd.Env = append(env, "DBUS_SYSTEM_BUS_ADDRESS="+daemon.found)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "played", nil
	case errors.As(err, &exit) && ctx.Err() == nil:
		return "driver: " + strings.TrimSpace(string(out)), nil
	case errors.As(err, &exit):
		return "did not end within " + scenarioLimit.String(), nil
	}
	return "", fmt.Errorf("cannot run the driver: %w (make test-clients installs Python's part)", err)
}

// process is a program in the background.
type process struct {
	cmd   *exec.Cmd
	found string        // what the pattern matched
	done  chan struct{} // closed at its end
}

// start starts a program and waits for a line that matches the pattern.
func start(ctx context.Context, dir, name string, env []string, pattern string, command ...string) (*process, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = env
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s in %s: %w", name, dir, err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	found := make(chan string, 1)
	go func() {
		defer close(p.done)
		re := regexp.MustCompile(pattern)
		lines := bufio.NewScanner(pipe)
		for lines.Scan() {
			if m := re.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
				break
			}
		}
		_, _ = io.Copy(io.Discard, pipe)
		_ = cmd.Wait()
	}()
	select {
	case p.found = <-found:
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("%s ended at once: %s", name, complaint.String())
	case <-ctx.Done():
		p.stop()
		return nil, fmt.Errorf("%s is not ready: %w", name, ctx.Err())
	}
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(10*time.Second, func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
	defer timer.Stop()
	<-p.done
}
