package hci

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
)

const (
	scanOn        = "010c20020101"
	scanOnAll     = "010c20020100" // without the duplicate filter
	scanOff       = "010c20020000"
	scanDone      = "040e04010c2000"
	passiveParams = "010b200700600060000000"
	activeParams  = "010b200701120012000100"
	listParams    = "010b200700600060000001"
	paramsDone    = "040e04010b2000"

	// goldenRsp is the scan response of the recordings.
	goldenRsp  = "110701009b5f80000080004000100001a5a50c09476f6c64656e5465737431"
	minus61dBm = "c3"
)

func report1(kind, addr, data string) string {
	n := len(data) / 2
	return fmt.Sprintf("043e%02x0201%s%s%02x%s%s", 12+n, kind, addr, n, data, minus61dBm)
}

// TestReports: the recorded reports come out of what a proxy says: cut in two for an active scan, the first part alone
// for a passive one.
func TestReports(t *testing.T) {
	addr := "00" + "01000101aa00"
	adv := "02010605030f18f0ff020a040319410307ffffffdeadbeef05160f185701"
	run(t, func(r *rig) {
		r.ask(activeParams, paramsDone)
		r.ask(scanOn, scanDone)
		r.advertise(device, adv+goldenRsp)
		r.want(report1("00", addr, adv), report1("04", addr, goldenRsp))
		// Without a scan response an empty one, which the kernel waits for.
		r.advertise(other, "020106")
		r.want(report1("00", "015544332211c4", "020106"), report1("04", "015544332211c4", ""))
		r.ask(activeParams, "040e04010b200c") // while scanning
		r.ask(scanOff, scanDone)
		r.ask(passiveParams, paramsDone)
		r.ask(scanOn, scanDone)
		r.advertise(device, adv+goldenRsp)
		r.want(report1("00", addr, adv))
		r.advertise(other, "020106")
		r.want(report1("00", "015544332211c4", "020106"))
		r.ask(scanOff, scanDone)
		r.advertise(device, adv)
		r.want()
	})
}

// TestDuplicates: with the filter a device is reported again with other content, or after a second; without it always.
func TestDuplicates(t *testing.T) {
	addr := "00" + "01000101aa00"
	a, b := report1("00", addr, "020106"), report1("00", addr, "020104")
	run(t, func(r *rig) {
		r.ask(passiveParams, paramsDone)
		r.ask(scanOn, scanDone)
		r.advertise(device, "020106")
		r.advertise(device, "020106")
		r.advertise(device, "020104")
		r.want(a, b)
		time.Sleep(repeatAfter - time.Millisecond)
		r.advertise(device, "020104")
		r.want()
		time.Sleep(time.Millisecond)
		r.advertise(device, "020104")
		r.want(b)
		r.ask(scanOff, scanDone)
		r.ask(scanOn, scanDone)
		r.advertise(device, "020104") // what was reported is forgotten
		r.want(b)
		r.ask(scanOff, scanDone)
		r.ask(scanOnAll, scanDone)
		r.advertise(device, "020104")
		r.advertise(device, "020104")
		r.want(b, b)
	})
}

// TestListScan: with policy 1 only the accept list is reported; what was heard just now, or another party is linked to,
// at once.
func TestListScan(t *testing.T) {
	addr := "00" + "01000101aa00"
	run(t, func(r *rig) {
		r.ask("011120070001000101aa00", "040e0401112000")
		r.ask(listParams, paramsDone)
		r.advertise(device, "020106")
		time.Sleep(recently)
		r.ask(scanOn, scanDone, report1("00", addr, "020106"))
		r.advertise(other, "020106")
		r.want()
		r.ask(scanOff, scanDone)
		time.Sleep(time.Second)
		r.ask(scanOn, scanDone) // too old
		r.ask(scanOff, scanDone)
		r.air.linked[device] = true
		r.ask(scanOn, scanDone, report1("00", addr, "020106"))
		r.ask(scanOff, scanDone)
		r.ask("011220070001000101aa00", "040e0401122000")
		r.ask(scanOn, scanDone)
		r.advertise(device, "020106")
		r.want()
	})
}

// TestMasks: a host that does not want reports gets none, and costs nothing.
func TestMasks(t *testing.T) {
	run(t, func(r *rig) {
		r.ask("010120081d00000000000000", "040e0401012000")
		r.ask(scanOn, scanDone)
		r.advertise(device, "020106")
		r.want()
		if r.c.Wants() {
			t.Error("advertisements are wanted")
		}
		r.ask("01010c080000000000000000", "040e0401010c00")
		r.ask("010120081f00000000000000", "040e0401012000")
		r.advertise(device, "020106")
		r.want()
	})
}

// TestWishes: the proxies learn what the host's scan wants of them.
func TestWishes(t *testing.T) {
	run(t, func(r *rig) {
		for _, step := range []struct {
			packet          string
			listens, active bool
		}{{passiveParams, false, false}, {scanOn, true, false}, {scanOff, false, false}, {activeParams, false, false}, {scanOn, true, true}, {"01030c00", false, false}} {
			before := r.wishes
			r.say(step.packet)
			r.heard()
			if listens, active := r.c.Wish(); listens != step.listens || active != step.active {
				t.Errorf("after %s: listens %v, active %v", step.packet, listens, active)
			}
			if len(step.packet) == len(scanOn) && r.wishes == before {
				t.Errorf("after %s nobody was told", step.packet)
			}
		}
	})
}

// TestRate: a flood is thinned to what a host can take, and no device is left out for good.
func TestRate(t *testing.T) {
	run(t, func(r *rig) {
		r.ask(passiveParams, paramsDone)
		r.ask(scanOn, scanDone)
		const devices, seconds = 3000, 20
		heard := map[string]bool{}
		n := 0
		for range seconds * 10 {
			for d := range devices / 10 { // each device once a second, in no order that matters
				r.c.Adverts(time.Now(), []ble.RawAdvert{{Address: ble.Address(1 + (n+d*7)%devices), RSSI: -50, Data: []byte{2, 1, 6}}})
			}
			n += devices / 10 * 7
			time.Sleep(100 * time.Millisecond)
		}
		got := r.heard()
		for _, p := range got {
			heard[p[14:26]] = true
		}
		if most := reportBurst + seconds*reportRate; len(got) > most || len(got) < devices {
			t.Errorf("%d reports in %d s", len(got), seconds)
		}
		if len(heard) < devices {
			t.Errorf("%d of %d devices were reported", len(heard), devices)
		}
		if st := r.c.Status(); st.Dropped == 0 || st.Reports != uint64(len(got)) {
			t.Errorf("status %+v, %d reports", st, len(got))
		}
	})
}

// BenchmarkAdvertFlood is what an advertisement costs in a flood of 1,000 devices while a host scans: half of them say
// something new.
func BenchmarkAdvertFlood(b *testing.B) { benchmarkAdverts(b, true) }

// BenchmarkAdvertIdle is what it costs while no host scans.
func BenchmarkAdvertIdle(b *testing.B) { benchmarkAdverts(b, false) }

func benchmarkAdverts(b *testing.B, scanning bool) {
	s := newScan()
	c := &Controller{scan: s, out: newOutbox()}
	s.reset(c.out)
	if scanning {
		s.configure(scanConfig{active: true})
		s.enable(true, true)
	}
	const devices, size = 1000, 16
	var batches [devices][]ble.RawAdvert
	for i := range batches {
		for j := range size {
			data := make([]byte, 50)
			data[0], data[1] = 30, 0xff
			data[31], data[32] = 18, 9
			batches[i] = append(batches[i], ble.RawAdvert{Address: ble.Address(1 + (i*size+j)%devices), RSSI: -60, Data: data})
		}
	}
	at := time.Now()
	b.ReportAllocs()
	b.ResetTimer()
	var buf []byte
	for n := 0; n < b.N; n += size {
		batch := batches[n/size%devices]
		if n/size%2 == 0 {
			binary.LittleEndian.PutUint32(batch[0].Data[4:], uint32(n))
			for i := range batch {
				batch[i].Data[8] = byte(n / size / devices)
			}
		}
		at = at.Add(time.Millisecond)
		c.Adverts(at, batch)
		if scanning {
			buf, _ = s.next(c.out, buf[:0], writeSize, func(int) {})
		}
	}
}
