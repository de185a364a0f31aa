package finder

import (
	"net/netip"
	"strconv"
	"testing"
	"time"
)

// However many names point to somebody, he sees few attempts, unless a proxy of his answers.
func TestTargets(t *testing.T) {
	targets, now := newTargets(), time.Now()
	victim := netip.MustParseAddrPort("192.0.2.1:80")
	count := func(n int, of func(i int) netip.AddrPort) (tries int) {
		for i := range n { // 10 ms apart
			if targets.try(of(i), now.Add(time.Duration(i)*10*time.Millisecond)) {
				tries++
			}
		}
		now = now.Add(time.Duration(n) * 10 * time.Millisecond)
		return tries
	}
	if n := count(6000, func(int) netip.AddrPort { return victim }); n != 6 { // after 0, 1, 3, 7, 15, 31 s
		t.Errorf("%d attempts at one port in a minute", n)
	}
	ports := func(i int) netip.AddrPort { return netip.AddrPortFrom(victim.Addr(), uint16(1000+i)) }
	if n := count(6000, ports); n > 240 {
		t.Errorf("%d attempts at one address in a minute", n)
	}
	now = now.Add(maxPause)
	targets.try(victim, now)
	targets.good(victim)
	if n := count(100, func(int) netip.AddrPort { return victim }); n < 3 || n > 4 {
		t.Errorf("%d attempts in a second at a proxy that answered", n)
	}
	for i := range 4000 {
		targets.try(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1), now)
	}
	if len(targets.ports) > maxTargets || len(targets.address) > maxTargets {
		t.Errorf("%d ports and %d addresses are remembered", len(targets.ports), len(targets.address))
	}
}

// A place counts from when it is given, not only from when its proxy is made: the announcements that come and those that are looked
// at again are handled beside each other. None of these is online.
func TestPlaces(t *testing.T) {
	f, now := New(Config{}), time.Now()
	given := 0
	for i := range 2 * maxTrial {
		if place, evicted := f.place(strconv.Itoa(i), "", now.Add(time.Duration(i)*time.Minute), true); evicted != nil {
			t.Fatal("one whose proxy is not made yet had to go")
		} else if place != nil {
			given++
		}
	}
	if given != maxTrial {
		t.Errorf("%d places, want %d", given, maxTrial)
	}
	for _, e := range f.found {
		e.coming = false // they proved to be of no use
	}
	if place, _ := f.place("new", "", now, false); place == nil {
		t.Error("what is of no use keeps a place")
	}
}
