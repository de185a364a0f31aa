package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cost is the time that something took.
type cost struct {
	process, bus, wall time.Duration
}

// measure measures the CPU time that a process and the bus use while do runs.
func (w *world) measure(p *process, do func() error) (c cost, err error) {
	pids := []int{p.pid(), w.busPID}
	var before, after [2]time.Duration
	for i, pid := range pids {
		before[i], err = cpu(pid)
		if err != nil {
			return c, err
		}
	}
	profiled := w.profile(p)
	start := time.Now()
	if err := do(); err != nil {
		return c, p.failed(err)
	}
	c.wall = time.Since(start)
	if err := profiled(); err != nil {
		return c, err
	}
	for i, pid := range pids {
		after[i], err = cpu(pid)
		if err != nil {
			return c, p.failed(err)
		}
	}
	c.process, c.bus = after[0]-before[0], after[1]-before[1]
	return c, nil
}

// profile takes a CPU profile of the daemon if an option asks for it: the figures are then those of a profiled program.
// The returned function waits for the end of the profile.
func (w *world) profile(p *process) (wait func() error) {
	if w.profiles == "" || p.http == "" {
		return func() error { return nil }
	}
	w.taken++
	path := filepath.Join(w.profiles, fmt.Sprintf("%s-%02d.pprof", w.row, w.taken))
	done := make(chan error, 1)
	go func() {
		b, err := get(context.Background(), "http://"+p.http+"/debug/pprof/profile?seconds=2")
		if err == nil {
			err = os.WriteFile(path, b, 0o644)
		}
		done <- err
	}()
	return func() error { return <-done }
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("cannot get %s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// allocated reads how many bytes the daemon has allocated on its heap so far.
func allocated(ctx context.Context, p *process) (float64, error) {
	return metric(ctx, p, "go_memstats_alloc_bytes_total")
}

// metric reads one of the daemon's metrics without labels.
func metric(ctx context.Context, p *process, name string) (float64, error) {
	text, err := get(ctx, "http://"+p.http+"/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(v), 64)
		}
	}
	return 0, fmt.Errorf("the metrics have no %s", name)
}

// freePort gives a port of this host on which nobody listens.
func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
