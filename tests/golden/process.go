package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"syscall"
	"time"
)

// process is a program in the background.
type process struct {
	cmd   *exec.Cmd
	found []string      // what the pattern matched
	done  chan struct{} // closed at its end
}

// start starts a program and waits until that many lines have matched the pattern.
func start(ctx context.Context, dir, name string, env []string, pattern string, count int, command ...string) (*process, error) {
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
	found := make(chan []string, 1)
	go func() {
		defer close(p.done)
		re := regexp.MustCompile(pattern)
		lines := bufio.NewScanner(pipe)
		var all []string
		for len(all) < count && lines.Scan() {
			if m := re.FindStringSubmatch(lines.Text()); m != nil {
				all = append(all, m[1])
			}
		}
		if len(all) == count {
			found <- all
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
