package dbusobj

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

// Whoever runs the loop, one does at a time, and each poster's functions run in his order.
func TestHelpers(t *testing.T) {
	t.Parallel()
	const posters, each = 8, 2000
	s := serve(t)
	main := ifaceMain()
	s.do(func() { s.Add("/o", &thing{}, main) })
	c := client(t, s.addr)
	var last [posters]int // no lock: the loop's
	var wg sync.WaitGroup
	for p := range posters {
		wg.Go(func() {
			for i := range each {
				f := func() {
					if last[p] != i {
						t.Errorf("poster %d: %d after %d", p, i, last[p]-1)
					}
					last[p]++
					s.Object("/o").Changed(main, "Number")
				}
				if p%2 == 0 {
					s.PostHelp(f)
				} else {
					s.Post(f)
				}
			}
		})
	}
	for range 50 {
		if err := c.Object(testName, "/o").Call(mainName+".Echo", 0, "x").Err; err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	s.do(func() {
		if want := fmt.Sprint([posters]int{each, each, each, each, each, each, each, each}); fmt.Sprint(last) != want {
			t.Errorf("ran %v", last)
		}
	})
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	s.PostHelp(func() { t.Error("a function ran after Run") })
}

// With an idle loop the poster does the work itself; before Run nobody does.
func TestHelpNeedsNoOther(t *testing.T) {
	t.Parallel()
	s := serve(t)
	here := false    // the loop's, as is what runs in it
	for range 1000 { // the loop may still be busy with the start
		s.PostHelp(func() { here = here || runBy("dbusobj.TestHelpNeedsNoOther") })
		var done bool
		s.do(func() { done = here })
		if done {
			break
		}
	}
	s.do(func() {
		if !here {
			t.Error("another goroutine did the work each time")
		}
	})
	c, _ := dial(t, s.addr)
	defer c.Close()
	c.PostHelp(func() { t.Error("a function ran before Run") })
}

// runBy reports whether a function, given with its package, is among those that called the caller; one that it encloses
// is another.
func runBy(name string) bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, "/"+name) {
			return true
		}
		if !more {
			return false
		}
	}
}

// Ceilings of allocations: what clients and the air can make us do often makes little garbage.
func TestAllocations(t *testing.T) {
	s := serve(t)
	i := addDevices(s, 100)
	if err := s.stop(); err != nil { // from here on the test runs the loop, and what is sent is dropped
		t.Fatal(err)
	}
	devices := s.Children("/org/bluez/hci0")
	if len(devices) != 100 {
		t.Fatalf("%d devices", len(devices))
	}
	if got := testing.AllocsPerRun(50, func() {
		for _, o := range devices {
			o.Changed(i, "RSSI", "ManufacturerData")
		}
		s.Flush()
	}); got > 3*100 {
		t.Errorf("%v allocations for 100 PropertiesChanged", got)
	}
	if got := testing.AllocsPerRun(50, func() {
		s.handleCall(&message{typ: dbus.TypeMethodCall, sender: ":1.1", path: "/", iface: objectManagerName, member: "GetManagedObjects"})
	}); got > 10 {
		t.Errorf("%v allocations for GetManagedObjects of 100 devices", got)
	}
}
