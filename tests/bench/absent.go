package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

const aboutAbsent = `A device that is there, on simulated proxies that behave as ESPHome 2026.10, which neither scans nor makes another connection while it dials; and devices
that are off and that programs connect to for ever, half a second after each failure. These were paired, then switched off a minute before. Signals: those of the device's advertisements, 10 a second, with a
discovery session. Connect: of the device, 20 times, or for 45 s. A third device advertises every 10 s. A Connect that fails counts 99 s. Undisturbed: nobody wants a device that is off.`

const (
	heardRate     = "signals of advertisements, a second"
	connectP95    = "Connect, p95, ms"
	slowConnect   = "every 10 s: Connect, s"
	undisturbed   = "undisturbed"
	failedConnect = 99               // the seconds that a failed Connect counts
	longConnects  = 45 * time.Second // after this time, none of the 20 calls of Connect begins
	absentHere    = "C0:00:00:00:00:01"
	absentSlow    = "C0:00:00:00:00:02"
)

func absentAddress(i int) string { return fmt.Sprintf("C0:00:00:00:01:%02X", i) }

// absentCounts gives the numbers of devices that are off and wanted, and the numbers of proxies.
func (w *world) absentCounts() (off, proxies []int) {
	if w.quick {
		return []int{2}, []int{1}
	}
	return []int{1, 3, 5}, []int{1, 2}
}

func absent(ctx context.Context, w *world, r *result) error {
	off, counts := w.absentCounts()
	for _, proxies := range counts {
		g := r.group(fmt.Sprintf("%d prox%s", proxies, map[bool]string{true: "y", false: "ies"}[proxies == 1]))
		for range min(1+w.rounds/4, 2) { // each takes minutes
			if err := w.absentRound(ctx, g, proxies); err != nil {
				return err
			}
		}
		for _, n := range off {
			who := fmt.Sprintf("%d off", n)
			g.ratioAtLeast(heardRate, who, undisturbed, 0.9)
			g.ratio(connectP95, who, undisturbed, 1.5)
		}
		g.atMost(fmt.Sprintf("%d off", slices.Max(off)), slowConnect, " s", 20)
	}
	return nil
}

// ratioAtLeast demands that one's quantity be at least limit times the other's.
func (g *group) ratioAtLeast(what, one, other string, limit float64) {
	if a, b := g.find(one, what), g.find(other, what); a != nil && b != nil {
		g.Checks = append(g.Checks, check{Of: name(what), What: one + " ÷ " + other, Reached: medianRatio(a.Rounds, b.Rounds), Limit: limit, AtLeast: true})
	}
}

// absentWorld is simulated proxies, a daemon that uses them, and a client.
type absentWorld struct {
	*world
	control string
	sim     *process
	daemon  *process
	conn    *client
	signals chan *dbus.Signal
}

func (w *world) absentRound(ctx context.Context, g *group, proxies int) error {
	a, err := w.absentWorld(ctx, proxies)
	if err != nil {
		return err
	}
	defer a.close()
	if err := a.measureHere(ctx, g, undisturbed); err != nil {
		return a.daemon.failed(err)
	}
	off, _ := w.absentCounts()
	for _, n := range off {
		if err := a.disturbed(ctx, g, n); err != nil {
			return a.daemon.failed(err)
		}
	}
	return nil
}

// mostOff is the largest number of devices that are off at a time.
func (w *world) mostOff() int {
	off, _ := w.absentCounts()
	return slices.Max(off)
}

// absentWorld starts everything, pairs the devices that are to be off, and switches them off.
func (w *world) absentWorld(ctx context.Context, count int) (_ *absentWorld, err error) {
	a := &absentWorld{world: w, signals: make(chan *dbus.Signal, 1<<16)}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	dir, err := os.MkdirTemp(w.dir, "a")
	if err != nil {
		return nil, err
	}
	a.control = filepath.Join(dir, "c")
	peripherals := filepath.Join(dir, "p.json")
	if err := os.WriteFile(peripherals, absentPeripherals(w.mostOff()), 0o600); err != nil {
		return nil, err
	}
	var addresses []string
	args := []string{"simulate", "--peripherals", peripherals, "--control", a.control}
	for i := range count {
		address, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, address)
		args = append(args, "--proxy", fmt.Sprintf("p%d=%s", i, address))
	}
	a.sim, err = spawn(ctx, nil, w.simulator, args...)
	if err != nil {
		return nil, err
	}
	a.daemon, err = w.daemon(ctx, &proxies{addresses: addresses}, settings{})
	if err != nil {
		return nil, err
	}
	a.conn, err = w.client()
	if err != nil {
		return nil, err
	}
	a.conn.Signal(a.signals)
	if err := poll(ctx, "the daemon", 50*time.Millisecond, func() bool {
		return bluez(ctx, a.conn.Conn, adapterPath, adapterIface+".SetDiscoveryFilter", map[string]dbus.Variant{"RSSI": dbus.MakeVariant(int16(-127))}).Err == nil
	}); err != nil {
		return nil, a.daemon.failed(err)
	}
	if err := startDiscovery(ctx, a.conn.Conn); err != nil {
		return nil, err
	}
	for i := range a.mostOff() {
		if err := poll(ctx, "a bond with "+absentAddress(i), 200*time.Millisecond, func() bool {
			return bluez(ctx, a.conn.Conn, devPath(absentAddress(i)), deviceIface+".Pair").Err == nil
		}); err != nil {
			return nil, a.daemon.failed(err)
		}
		if err := bluez(ctx, a.conn.Conn, devPath(absentAddress(i)), deviceIface+".Disconnect").Err; err != nil {
			return nil, err
		}
		if err := a.off(fmt.Sprintf("off%d", i)); err != nil {
			return nil, err
		}
	}
	unheard := 60 * time.Second // after that, the daemon no longer counts them as heard
	if a.quick {
		unheard = 5 * time.Second
	}
	return a, pause(ctx, unheard)
}

func (a *absentWorld) close() {
	if a.conn != nil {
		_ = a.conn.Close()
	}
	if a.daemon != nil {
		a.daemon.stop()
	}
	if a.sim != nil {
		a.sim.stop()
	}
}

// absentPeripherals makes the simulator's file of devices.
func absentPeripherals(off int) []byte {
	type object = map[string]any
	var devices []object
	add := func(id, address string, interval int) {
		devices = append(devices, object{"id": id, "address": address, "address_type": "random", "connectable": true,
			"advertisement": object{"flags": 6, "local_name": id, "interval_ms": interval},
			"gatt": object{"services": []object{{"uuid": "0000ff00-0000-1000-8000-00805f9b34fb",
				"characteristics": []object{{"uuid": "0000ff01-0000-1000-8000-00805f9b34fb", "properties": []string{"read"}, "value": "01"}}}}}})
	}
	add("here", absentHere, 100)
	add("slow", absentSlow, 10_000)
	for i := range off {
		add(fmt.Sprintf("off%d", i), absentAddress(i), 100)
	}
	b, err := json.Marshal(object{"devices": devices})
	if err != nil {
		panic(err) // cannot happen: all values are plain
	}
	return b
}

// off switches a device off.
func (a *absentWorld) off(id string) error {
	c, err := net.Dial("unix", filepath.Join(a.control, id+".sock"))
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintln(c, `{"op":"advertise","on":false}`); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && !strings.Contains(answer, `"ok":true`) {
		err = errors.New("simulate: " + answer)
	}
	return err
}

// disturbed measures while programs try for ever to connect to n devices that are off.
func (a *absentWorld) disturbed(ctx context.Context, g *group, n int) error {
	rctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for i := range n {
		wg.Go(func() {
			for rctx.Err() == nil {
				_ = bluez(rctx, a.conn.Conn, devPath(absentAddress(i)), deviceIface+".Connect").Err
				_ = pause(rctx, 500*time.Millisecond)
			}
			_ = bluez(ctx, a.conn.Conn, devPath(absentAddress(i)), deviceIface+".Disconnect").Err
		})
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	who := fmt.Sprintf("%d off", n)
	if err := a.measureHere(ctx, g, who); err != nil {
		return err
	}
	if n < a.mostOff() {
		return nil
	}
	start := time.Now()
	if err := bluez(ctx, a.conn.Conn, devPath(absentSlow), deviceIface+".Connect").Err; err != nil {
		g.add(who, slowConnect, failedConnect)
		return nil
	}
	g.add(who, slowConnect, time.Since(start).Seconds())
	return bluez(ctx, a.conn.Conn, devPath(absentSlow), deviceIface+".Disconnect").Err
}

// measureHere counts for 20 s the signals of the device that is there, and connects to it.
func (a *absentWorld) measureHere(ctx context.Context, g *group, who string) error {
	window := 20 * time.Second
	if a.quick {
		window = 2 * time.Second
	}
	count := func() (n int) {
		for len(a.signals) > 0 {
			s := <-a.signals
			if s.Path != devPath(absentHere) || len(s.Body) < 2 {
				continue
			}
			if props, ok := s.Body[1].(map[string]dbus.Variant); ok {
				if _, ok := props["RSSI"]; ok {
					n++
				}
			}
		}
		return n
	}
	count()
	if err := pause(ctx, window); err != nil {
		return err
	}
	g.add(who, heardRate, float64(count())/window.Seconds())
	var took []float64
	begin := time.Now()
	for range max(2, a.scale(20)) {
		start := time.Now()
		if start.Sub(begin) > longConnects {
			break
		}
		if err := bluez(ctx, a.conn.Conn, devPath(absentHere), deviceIface+".Connect").Err; err != nil {
			took = append(took, failedConnect*1000)
			continue
		}
		took = append(took, float64(time.Since(start))/float64(time.Millisecond))
		if err := bluez(ctx, a.conn.Conn, devPath(absentHere), deviceIface+".Disconnect").Err; err != nil {
			return err
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return err
		}
	}
	slices.Sort(took)
	g.add(who, connectP95, took[(len(took)*95+99)/100-1])
	return nil
}
