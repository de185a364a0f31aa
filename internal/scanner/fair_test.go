package scanner

import (
	"fmt"
	"testing"

	"bluez-esphome/internal/ble"
)

// TestAMillionAddresses: a proxy that makes up a million devices pushes out its own and no other proxy's, however
// seldom those are heard, and adds no more than a budget.
func TestAMillionAddresses(t *testing.T) {
	const most, good = 1000, 300
	a := newAir(t)
	a.Table = New(Config{MaxDevices: most})
	a.ProxyUp("good")
	a.ProxyUp("evil")
	a.SetDiscovery(all)
	for i := range good {
		a.hear(0, "good", ble.Address(1+i), -60, p1)
	}
	batch := make([]ble.RawAdvert, 16)
	data := []byte{2, 1, 6}
	taken := 0
	told := map[ble.Address]bool{}
	for i := range 1_000_000 / 16 {
		at := float64(i) / 3125 // 50,000 a second
		for k := range batch {
			batch[k] = ble.RawAdvert{Address: 0xC00000000000 + ble.Address(i*16+k), RSSI: -1, Data: data}
		}
		a.Adverts("evil", a.at(at), batch)
		if i%1000 == 0 {
			a.Take(func(r *ble.Report) {
				taken++
				told[r.Address] = !r.Evicted
				if r.Evicted {
					delete(told, r.Address)
				}
			})
		}
	}
	for i := range good {
		if _, ok := a.Lookup(ble.Address(1 + i)); !ok {
			t.Fatalf("device %d of the good proxy made room", i)
		}
	}
	s := a.Stats()
	if s.Devices != most || s.Adverts != 1_000_000+good {
		t.Errorf("%+v", s)
	}
	if added := 1_000_000 - s.Crowded; added < freshBurst || added > freshBurst+21*freshPerSec {
		t.Errorf("it added %d devices", added)
	}
	if len(a.queue) > most+64 || len(a.evicted) > most {
		t.Errorf("%d wait to be reported, %d to be dropped", len(a.queue), len(a.evicted))
	}
	for woken(a.Table) {
		a.Take(func(r *ble.Report) {
			told[r.Address] = !r.Evicted
			if r.Evicted {
				delete(told, r.Address)
			}
		})
	}
	if len(told) > most || taken == 0 {
		t.Errorf("who takes the reports knows %d devices, the table %d; %d reports", len(told), most, taken)
	}
	for addr := range told {
		if _, ok := a.Lookup(addr); !ok {
			t.Errorf("%s is gone and nobody said so", addr)
		}
	}
	owned := 0
	for _, p := range a.proxies {
		n := 0
		for d := p.owns.first; d != nil; d = d.ownNext {
			n++
		}
		if n != p.owns.n {
			t.Errorf("%s owns %d devices, its list has %d", p.name, p.owns.n, n)
		}
		owned += n
	}
	if owned != most {
		t.Errorf("%d devices are owned", owned)
	}
}

// TestQuietDevicesGoFirst: a device that clients have lost already makes room before one of a proxy that has more.
func TestQuietDevicesGoFirst(t *testing.T) {
	a := newAir(t)
	a.Table = New(Config{MaxDevices: 10})
	a.ProxyUp("few")
	a.ProxyUp("many")
	a.hear(0, "few", 1, -60, p1)
	for i := range 9 {
		a.hear(20, "many", ble.Address(10+i), -60, p1)
	}
	a.hear(29, "many", 100, -60, p1)
	if _, ok := a.Lookup(1); !ok {
		t.Error("heard 29 s ago, it made room")
	}
	a.hear(31, "many", 101, -60, p1)
	if _, ok := a.Lookup(1); ok {
		t.Error("not heard for 31 s, it stayed")
	}
}

// TestTakeIsShort: no call of Take reports more than so many devices, and all are reported in the end.
func TestTakeIsShort(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery(all)
	for i := range 1000 {
		a.hear(0, "A", ble.Address(1+i), -60, p1)
	}
	var got []string
	total := 0
	for woken(a.Table) {
		n := len(a.take())
		total += n
		got = append(got, fmt.Sprint(n))
	}
	if total != 1000 || fmt.Sprint(got) != "[256 256 256 232]" {
		t.Errorf("%v", got)
	}
}
