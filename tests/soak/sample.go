package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	sampleEvery = 15 * time.Second
	// collectEvery is how many samples lie between those for which the daemon is made to collect its garbage, so that
	// the heap that is in use is known. More would keep its memory smaller than it is in life.
	collectEvery = 4
	probes       = 20 // calls whose latency is measured, for each sample
)

// sample is what was measured at one time. A field that was not measured is 0.
type sample struct {
	At         time.Duration // since the start
	Heap       float64       // bytes in use after a collection
	RSS        float64       // bytes
	Goroutines float64
	FDs        float64
	Objects    float64 // in the tree
	Devices    float64 // in the scanner's table
	State      float64 // bytes of state.json and the GATT files
	Links      float64 // that clients hold
	CPU        float64 // seconds, since the start
	BusRSS     float64 // of dbus-daemon
	Call       float64 // median of a call that needs no air, ms
	CallMax    float64
	Read       float64 // median of ReadValue since the last sample, ms
	Notes      float64 // notifications received so far
	Online     float64 // proxies
}

// sampling takes samples until the load is over.
func (s *soak) sampling(ctx context.Context, m *mirror) {
	probe, err := s.newClient("probe")
	if err != nil {
		s.found.add("probe", err.Error())
		return
	}
	defer probe.conn.Close()
	var busPID uint32
	if err := probe.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetConnectionUnixProcessID", 0, "org.freedesktop.DBus").Store(&busPID); err != nil {
		busPID = 0 // an old dbus-daemon does not say
	}
	out, err := os.Create(filepath.Join(s.keep, "samples.jsonl"))
	if err != nil {
		s.found.add("samples", err.Error())
		return
	}
	defer out.Close()
	end := s.started.Add(s.duration)
	for n := 0; pause(ctx, min(sampleEvery, time.Until(end))); n++ {
		one := sample{At: time.Since(s.started).Round(time.Second), BusRSS: rss(int(busPID))}
		if m != nil {
			one.Objects = float64(m.look(ctx))
		}
		s.probe(ctx, probe, &one)
		if n%collectEvery == 0 {
			one.Heap = s.liveHeap()
		}
		s.scrape(&one)
		one.Read = s.tally.latency("ReadValue")
		one.State = s.stateSize()
		one.Links = float64(s.tally.linked())
		one.Notes = float64(s.tally.get("notifications received"))
		s.samples = append(s.samples, one)
		_ = json.NewEncoder(out).Encode(one)
		select {
		case <-s.world.done:
			s.found.add("daemon", "it ended during the load")
			return
		default:
		}
		if !time.Now().Before(end) {
			return
		}
	}
}

// probe measures calls that need no air.
func (s *soak) probe(ctx context.Context, c *client, one *sample) {
	var all []float64
	for range probes {
		begun := time.Now()
		var v dbus.Variant
		if !c.plain(ctx, adapterPath, properties+".Get", &v, adapterIface, "Address") {
			return
		}
		all = append(all, float64(time.Since(begun).Microseconds())/1000)
	}
	one.Call, one.CallMax = median(all), maximum(all)
}

var heapAlloc = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)

// liveHeap makes the daemon collect its garbage and gives what is in use then.
func (s *soak) liveHeap() float64 {
	body := s.get("/debug/pprof/heap?gc=1&debug=1")
	if m := heapAlloc.FindStringSubmatch(body); m != nil {
		v, _ := strconv.ParseFloat(m[1], 64)
		return v
	}
	return 0
}

// get asks the daemon's listener.
func (s *soak) get(path string) string {
	c := http.Client{Timeout: callTimeout}
	resp, err := c.Get(s.world.http + path)
	if err != nil {
		s.found.add("http", err.Error())
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.found.add("http", fmt.Sprintf("%s: %s %v", path, resp.Status, err))
	}
	return string(body)
}

// scrape takes what /metrics says.
func (s *soak) scrape(one *sample) {
	for lines := bufio.NewScanner(strings.NewReader(s.get("/metrics"))); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if i := strings.LastIndexByte(lines.Text(), ' '); strings.Contains(name, "{") {
			name, value = lines.Text()[:i], lines.Text()[i+1:]
		}
		v, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil {
			continue
		}
		switch {
		case name == "process_resident_memory_bytes":
			one.RSS = v
		case name == "go_goroutines":
			one.Goroutines = v
		case name == "process_open_fds":
			one.FDs = v
		case name == "process_cpu_seconds_total":
			one.CPU = v
		case name == "bluez_esphome_air_devices":
			one.Devices = v
		case strings.HasPrefix(name, "bluez_esphome_proxy_state{") && strings.Contains(name, `state="online"`):
			one.Online += v
		}
	}
}

// stateSize is what the daemon keeps on disk.
func (s *soak) stateSize() (n float64) {
	_ = filepath.WalkDir(s.world.state, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += float64(info.Size())
			}
		}
		return nil // files come and go
	})
	return n
}

var vmRSS = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

func rss(pid int) float64 {
	if pid == 0 {
		return 0
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if m := vmRSS.FindSubmatch(b); err == nil && m != nil {
		v, _ := strconv.ParseFloat(string(m[1]), 64)
		return v * 1024
	}
	return 0
}

// ending is how it was when the load was over.
type ending struct {
	links   int           // that the listeners held
	took    time.Duration // from SIGTERM to the exit
	status  int
	taken   int // slots of proxies that were still taken
	clients int // API sessions of proxies that were still open
	state   error
}

const (
	exitWithin   = 2 * time.Second
	exitPatience = 20 * time.Second
)

// end stops the daemon and looks at what it leaves.
func (s *soak) end(ctx context.Context) {
	begun := time.Now()
	_ = syscall.Kill(s.world.cmd.Process.Pid, syscall.SIGTERM)
	timeout := time.NewTimer(exitPatience)
	defer timeout.Stop()
	select {
	case <-s.world.done:
	case <-timeout.C:
	}
	s.ending.took = time.Since(begun)
	select {
	case <-s.world.done:
		s.ending.status = s.world.cmd.ProcessState.ExitCode()
	default:
		s.ending.status = -1
	}
	pause(ctx, time.Second) // a proxy notices a client that left at its next tick
	for _, p := range s.world.sim.Proxies() {
		slots := p.Slots()
		s.ending.taken += slots.Limit - slots.Free
		s.ending.clients += p.Clients()
	}
	b, err := os.ReadFile(filepath.Join(s.world.state, "state.json"))
	if err == nil {
		err = json.Unmarshal(b, &struct{}{})
	}
	s.ending.state = err
}
