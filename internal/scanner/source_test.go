package scanner

import (
	"encoding/hex"
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"bluez-esphome/internal/ble"
)

// TestSourcesFollowSessions: who hears a device is who heard it in the present session, in whatever order sessions come
// and go.
func TestSourcesFollowSessions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := &air{t: nil, Table: New(Config{}), start: time.Now().Add(time.Minute)}
		defer a.Close()
		up, heard := map[string]bool{}, map[string]bool{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			p := string(rune('A' + rapid.IntRange(0, 9).Draw(t, "proxy")))
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				a.ProxyDown(p)
				delete(up, p)
				delete(heard, p)
			case 1, 2:
				a.ProxyUp(p)
				up[p] = true
			default:
				a.Adverts(p, a.at(float64(i)), []ble.RawAdvert{{Address: dev, RSSI: -60, Data: []byte{2, 1, 6}}})
				if up[p] {
					heard[p] = true
				}
			}
			var got, want []string
			for _, s := range a.Sources(dev) {
				got = append(got, s.Proxy)
			}
			for p := range heard {
				want = append(want, p)
			}
			if slices.Sort(want); !slices.Equal(got, want) {
				t.Fatalf("step %d: heard by %v, want %v", i, got, want)
			}
			if d := a.devices[dev]; d != nil && d.downs == a.downs && int(d.sources.n) != len(want) {
				t.Fatalf("step %d: %d histories, want %d", i, d.sources.n, len(want))
			}
		}
	})
}

func TestOldSourcesAreDropped(t *testing.T) {
	a := newAir(t, "A", "B", "C", "D", "E", "F")
	for _, p := range []string{"A", "B", "C", "D", "E", "F"} {
		a.hear(0, p, dev, -60, p1)
	}
	a.hear(1700, "C", dev, -60, p1)
	a.hear(1900, "A", dev, -60, p1)
	if got := a.Sources(dev); len(got) != 2 || got[0].Proxy != "A" || got[1].Proxy != "C" {
		t.Errorf("after half an hour: %+v, want A and C", got)
	}
	if n := len(a.devices[dev].sources.more); n != 1 {
		t.Errorf("%d blocks for two histories", n)
	}
}

// TestSessionsWrap: the number of a session is short; a history of the first one must not count again in the
// 65537th.
func TestSessionsWrap(t *testing.T) {
	a := newAir(t, "A")
	a.hear(0, "A", dev, -60, p1)
	a.proxies["A"].gen = math.MaxUint16
	a.ProxyDown("A")
	a.ProxyUp("A")
	if got := a.Paths(dev); len(got) != 0 {
		t.Errorf("a history of the first session counts again: %+v", got)
	}
	if a.hear(1, "A", dev, -60, p1); len(a.Paths(dev)) != 1 {
		t.Error("not heard in the new session")
	}
}

func TestTooManyProxies(t *testing.T) {
	a := newAir(t, "A")
	a.numbered = append(a.numbered, make([]*proxy, maxProxies-1)...)
	a.ProxyUp("B")
	a.hear(0, "B", dev, -60, p1)
	a.hear(0, "A", dev, -60, p1)
	if got := a.Sources(dev); len(got) != 1 || a.Stats().Late != 1 {
		t.Errorf("%+v, %+v", got, a.Stats())
	}
	a.numbered = a.numbered[:1]
}

// TestProxiesAreForgotten: names that come and go (auto_add takes whatever mDNS shows) do not add up; what the one
// before heard does not count for the next with its number.
func TestProxiesAreForgotten(t *testing.T) {
	a := newAir(t, "stays")
	a.Keep(dev, true)
	for i := range 1000 {
		name := fmt.Sprint("proxy", i)
		a.ProxyUp(name)
		now := a.timeOf(a.now())
		a.Adverts(name, now, []ble.RawAdvert{{Address: dev, RSSI: -60, Data: []byte{2, 1, byte(i)}}})
		if got := a.Sources(dev); len(got) != 1 || got[0].Proxy != name {
			t.Fatalf("heard by %+v, want %s alone", got, name)
		}
		a.ProxyDown(name)
		a.mu.Lock()
		a.sweep(a.now() + int64(forgetProxy) - int64(time.Minute))
		if a.proxies[name] == nil {
			t.Fatal("forgotten before its time")
		}
		a.sweep(a.now() + int64(forgetProxy))
		a.mu.Unlock()
	}
	if len(a.proxies) != 1 || len(a.numbered) > 3 || a.owner(dev) != "" {
		t.Errorf("%d names, %d numbers, owner %q", len(a.proxies), len(a.numbered), a.owner(dev))
	}
}

// A full table drops a device whose owner was forgotten like any other.
func TestForgottenOwnerMakesRoom(t *testing.T) {
	a := newAir(t, "A", "B")
	a.max = 1
	a.hear(0, "A", dev, -60, p1)
	a.ProxyDown("A")
	a.mu.Lock()
	a.forgetProxies(a.now() + int64(forgetProxy))
	a.mu.Unlock()
	a.hear(100, "B", dev+1, -60, p1)
	if _, ok := a.Device(dev + 1); !ok || a.Stats().Evicted != 1 {
		t.Errorf("%+v", a.Stats())
	}
}

// TestMemory holds the table to what lets 200 proxies that all hear the same 5,000 devices fit in a small machine.
func TestMemory(t *testing.T) {
	if n := unsafe.Sizeof(source{}); n != 32 {
		t.Errorf("a history has %d bytes, want 32", n)
	}
	measure := func(proxies, devices int) float64 {
		a := newAir(t)
		for i := range proxies {
			a.ProxyUp(fmt.Sprint("proxy", i))
		}
		payload, _ := hex.DecodeString("02010611ff4c00100501180102030405060708090609646576696365")
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range proxies {
			for d := range devices {
				payload[9], payload[10] = byte(d), byte(d>>8)
				a.Adverts(fmt.Sprint("proxy", i), a.at(0), []ble.RawAdvert{{Address: ble.Address(d), RSSI: -60, Data: payload}})
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(a)
		return float64(after.HeapAlloc-before.HeapAlloc) / float64(proxies*devices)
	}
	// The payload with what was parsed of it, the record, its place in the table, the first history.
	if n := measure(1, 2000); n > 900 {
		t.Errorf("%.0f bytes for a device, want at most 900", n)
	}
	if n := measure(200, 500); n > 42 {
		t.Errorf("%.1f bytes for each of 200 proxies that hear a device, want at most 42", n)
	}
}
