package connections

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

// resources are what a leak makes grow.
type resources struct{ goroutines, descriptors, objects int }

func (w *world) resources() resources {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		w.t.Fatal(err)
	}
	return resources{runtime.NumGoroutine(), len(fds), len(w.Objects())}
}

// TestThousandCycles connects and disconnects eight devices 40 times each, by night 125 times, over all proxies:
// nothing is leaked. It does not run beside others, whose goroutines and descriptors it would count.
func TestThousandCycles(t *testing.T) {
	const devices = 8
	cycles := harness.ByNight(40, 125)
	var list []proxysim.DeviceSpec
	for i := range devices {
		d := sensor(i, compass[i%4:]...)
		for _, p := range compass[:i%4] {
			d.RSSI[p] = -90
		}
		d.Fast = true
		list = append(list, d)
	}
	w := newWorld(t, setup{devices: list})
	used := map[string]int{}
	var mu sync.Mutex
	round := func(n int) {
		var wg sync.WaitGroup
		for _, d := range list {
			wg.Go(func() {
				for i := range n {
					if err := w.cycle(d, func() {
						mu.Lock()
						defer mu.Unlock()
						used[w.holder(d)]++
					}); err != nil {
						t.Errorf("%s, cycle %d: %v", d.ID, i, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	round(1) // the first cycles create objects and fill caches
	before := w.least()
	start := time.Now()
	round(cycles)
	if t.Failed() {
		return
	}
	t.Logf("%d cycles in %v; links by proxy: %v", devices*cycles, time.Since(start), used)
	after, ok := w.back(before)
	t.Logf("before %+v, after %+v", before, after)
	if !ok {
		buf := make([]byte, 1<<20)
		t.Errorf("before %+v, after %+v; goroutines:\n%s", before, after, buf[:runtime.Stack(buf, true)])
	}
	for _, p := range w.sim.Proxies() {
		if used[p.Name()] == 0 {
			t.Errorf("%s was never used", p.Name())
		}
		if s := p.Slots(); s.Free != s.Limit {
			t.Errorf("%s still has slots taken: %v", p.Name(), s.Allocated)
		}
	}
}

// least gives the lowest value of each resource in a hundred readings. Single readings may be higher, the more often
// the busier the machine is.
func (w *world) least() resources {
	out := w.resources()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 100 {
		<-tick.C
		r := w.resources()
		out = resources{min(out.goroutines, r.goroutines), min(out.descriptors, r.descriptors), min(out.objects, r.objects)}
	}
	return out
}

// back waits until no resource is above its value before. If that does not happen, it gives the last reading and false.
func (w *world) back(before resources) (last resources, ok bool) {
	timeout, tick := time.NewTimer(limit), time.NewTicker(20*time.Millisecond)
	defer timeout.Stop()
	defer tick.Stop()
	for {
		last = w.resources()
		if last.goroutines <= before.goroutines && last.descriptors <= before.descriptors && last.objects <= before.objects {
			return last, true
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			return last, false
		}
	}
}

// cycle connects, reads, subscribes with a socket, and disconnects.
func (w *world) cycle(d proxysim.DeviceSpec, linked func()) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	path := devicePath(d)
	if call := w.object(path).CallWithContext(ctx, deviceIface+".Connect", 0); call.Err != nil {
		return fmt.Errorf("Connect: %w", call.Err)
	}
	if err := w.resolved(ctx, path); err != nil {
		return err
	}
	linked()
	options := map[string]dbus.Variant{}
	var value []byte
	if err := w.object(path+"/service0004/char0005").CallWithContext(ctx, charIface+".ReadValue", 0, options).Store(&value); err != nil {
		return fmt.Errorf("ReadValue: %w", err)
	}
	for method, char := range map[string]dbus.ObjectPath{"AcquireWrite": "/service0004/char0005", "AcquireNotify": "/service0004/char0007"} {
		var fd dbus.UnixFD
		var mtu uint16
		if err := w.object(path+char).CallWithContext(ctx, charIface+"."+method, 0, options).Store(&fd, &mtu); err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		if err := os.NewFile(uintptr(fd), method).Close(); err != nil {
			return err
		}
	}
	if call := w.object(path).CallWithContext(ctx, deviceIface+".Disconnect", 0); call.Err != nil {
		return fmt.Errorf("Disconnect: %w", call.Err)
	}
	return nil
}

// TestTwoClients: the second Connect succeeds, both get every notification, and when one leaves the bus, or only stops,
// the other is not disturbed.
func TestTwoClients(t *testing.T) {
	t.Parallel()
	for _, leave := range []string{"leaves the bus", "stops"} {
		t.Run(leave, func(t *testing.T) {
			t.Parallel()
			w, d := quick(t)
			path := devicePath(d)
			first, second := w.connect(), w.connect()
			first.link(path)
			second.link(path)
			char := w.char(path, counter)
			kept, stop := first.watch(4*many, dbus.WithMatchObjectPath(char))
			defer stop()
			second.Call(char, charIface+".StartNotify")
			first.Call(char, charIface+".StartNotify")
			half := func(from int) {
				for i := range 500 {
					if err := w.sim.Air().Notify(d.ID, counterHandle, number(from+i), false); err != nil {
						t.Fatal(err)
					}
				}
			}
			half(0)
			w.expectEach(kept, 0, 500, 2) // once for each session, as with bluetoothd
			if leave == "stops" {
				second.Call(char, charIface+".StopNotify")
			} else {
				if err := second.Conn.Close(); err != nil {
					t.Fatal(err)
				}
				// The bus tells the daemon after it has passed on what the second client sent.
				eventually(t, "the second has left", func() bool {
					var names []string
					if err := w.Conn.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names); err != nil {
						t.Fatal(err)
					}
					return !contains(names, second.Conn.Names())
				})
				first.Get(path, deviceIface, "Connected") // so the daemon knows it before it gives this answer
			}
			half(500)
			w.expectEach(kept, 500, 1000, 1)
			if w.Get(path, deviceIface, "Connected") != true || w.Get(char, charIface, "Notifying") != true {
				t.Error("the one who stayed was disturbed")
			}
			first.Call(char, charIface+".StopNotify")
			eventually(t, "nothing is subscribed", func() bool {
				s, err := w.sim.Air().Status(d.ID)
				return err == nil && len(s.Subscriptions) == 0
			})
		})
	}
}

func contains(list, of []string) bool {
	for _, x := range list {
		for _, y := range of {
			if x == y {
				return true
			}
		}
	}
	return false
}

// expectEach waits until each of the values from to until-1 has come the given number of times.
func (w *world) expectEach(signals chan *dbus.Signal, from, until, times int) {
	w.t.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for next := 0; next < (until-from)*times; {
		select {
		case s := <-signals:
			v, ok := changed(s, charIface, "Value").([]byte)
			if !ok {
				continue
			}
			if want := number(from + next/times); string(v) != string(want) {
				w.t.Fatalf("value %x, want %x", v, want)
			}
			next++
		case <-timeout.C:
			w.t.Fatalf("%d of %d values came", next, (until-from)*times)
		}
	}
}
