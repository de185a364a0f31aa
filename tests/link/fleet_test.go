package link

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/proxysim"
)

const fleet = 200

// memory is what the process has in use.
func memory() (heap, stacks uint64, goroutines int) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.StackInuse, runtime.NumGoroutine()
}

// TestFleet: two hundred proxies connect, stay up, all come back at once after an outage, and stop.
func TestFleet(t *testing.T) {
	specs := peripherals(t)
	opts := proxysim.Options{Peripherals: specs, Log: slog.New(slog.DiscardHandler)}
	for i := range fleet {
		c := proxysim.ProxyConfig{Name: fmt.Sprintf("node-%d", i)}
		if i%2 == 1 {
			c.PSK = &key
		}
		opts.Proxies = append(opts.Proxies, proxysim.ProxySpec{ProxyConfig: c, Listen: "127.0.0.1:0"})
	}
	sim, err := proxysim.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	simDone := make(chan error, 1)
	go func() { simDone <- sim.Run(ctx) }()
	// The cost of the simulated side for as many connections is subtracted: it is measured with silent clients later.
	heap0, stack0, go0 := memory()

	pacer := apiconn.NewPacer(10 * time.Millisecond)
	var proxies []*apiconn.Proxy
	var handlers []*quietHandler
	for i := range fleet {
		h := new(quietHandler)
		c := apiconn.Config{Address: sim.Addr(fmt.Sprintf("node-%d", i)).String(), Handler: h, Pace: pacer.Wait}
		if i%2 == 1 {
			c.PSK = &key
		}
		p, err := apiconn.New(c)
		if err != nil {
			t.Fatal(err)
		}
		proxies, handlers = append(proxies, p), append(handlers, h)
	}
	all := func(what string, f func(int) bool) time.Duration {
		t.Helper()
		begun := time.Now()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for i := 0; i < fleet; {
			if f(i) {
				i++
				continue
			}
			if time.Since(begun) > limit {
				t.Fatalf("%s: not proxy %d within %v: %v %s", what, i, limit, proxies[i].State(), proxies[i].LastError())
			}
			<-tick.C
		}
		return time.Since(begun)
	}
	var wg sync.WaitGroup
	for _, p := range proxies {
		wg.Go(func() { _ = p.Run(ctx) })
	}
	up := all("online", func(i int) bool { return proxies[i].Online() })
	all("adverts", func(i int) bool { return handlers[i].heard() > 0 })
	heap1, stack1, go1 := memory()

	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before) // cannot fail for the own process
	time.Sleep(3 * time.Second)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	for i, p := range proxies {
		if !p.Online() {
			t.Errorf("proxy %d did not stay up: %s", i, p.LastError())
		}
	}
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())

	for _, p := range sim.Proxies() {
		p.Restart(0)
	}
	all("offline", func(i int) bool { return !proxies[i].Online() || handlers[i].lost() })
	back := all("online again", func(i int) bool { return proxies[i].Online() })

	begun := time.Now()
	for _, p := range proxies {
		wg.Go(p.Stop)
	}
	wg.Wait()
	stopped := time.Since(begun)
	cancel()
	if err := <-simDone; err != nil {
		t.Error(err)
	}
	per := func(a, b uint64) float64 { return float64(max(a, b)-b) / fleet / 1024 }
	lines := []string{
		"| measure | value |", "| --- | --- |",
		fmt.Sprintf("| proxies | %d |", fleet),
		fmt.Sprintf("| all online after | %.1f s; attempts are 10 ms apart |", up.Seconds()),
		fmt.Sprintf("| memory for a session, both ends together | %.0f KiB of heap, %.0f KiB of stacks |", per(heap1, heap0), per(stack1, stack0)),
		fmt.Sprintf("| goroutines for a session, both ends together | %.1f |", float64(go1-go0)/fleet),
		fmt.Sprintf("| CPU for a session with seven advertisers, both ends together | %.2f %% of a core |", 100*cpu.Seconds()/3/fleet),
		fmt.Sprintf("| all online again after all restarted at once | %.1f s |", back.Seconds()),
		fmt.Sprintf("| all stopped after | %.1f s |", stopped.Seconds()),
	}
	if raceOn {
		lines = append(lines, "", "(measured with the race detector on, which takes several times the memory and time)")
	}
	results.mu.Lock()
	results.fleet = lines
	results.mu.Unlock()
	fmt.Printf("fleet: %d proxies up in %v, back in %v, %.0f KiB a session\n", fleet, up.Round(time.Millisecond), back.Round(time.Millisecond), per(heap1+stack1, heap0+stack0))
	if !raceOn && per(heap1+stack1, heap0+stack0) > 512 {
		t.Errorf("a session takes %.0f KiB", per(heap1+stack1, heap0+stack0))
	}
}

func (h *quietHandler) lost() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.offline != nil
}
