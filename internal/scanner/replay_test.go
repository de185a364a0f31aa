package scanner

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
)

// player plays the scenario on a fake clock.
type player struct {
	t     *testing.T
	sc    *scenario
	table *Table
	start time.Time
	got   outcome
	on    bool
	// Of the walkers: what was heard while somebody discovered, what was reported, and the newest report.
	heard, reported map[ble.Address]map[uint16]int
	newest          map[ble.Address]int
	objects         map[ble.Address]time.Time
	lastHeard       map[ble.Address]time.Time
}

func (r *player) run() outcome {
	for _, w := range r.sc.Devices {
		r.heard[w.Address], r.reported[w.Address], r.newest[w.Address] = map[uint16]int{}, map[uint16]int{}, -1
	}
	for _, p := range r.sc.Proxies {
		r.table.ProxyUp(p.Name)
	}
	adverts := r.sc.broadcast()
	for tick := 0.0; tick < r.sc.Duration; tick += 0.1 {
		<-time.After(time.Until(r.start.Add(time.Duration(tick * float64(time.Second)))))
		r.outages(tick)
		if on := r.sc.discovers(tick); on != r.on {
			r.discover(on)
		}
		n := 0
		for n < len(adverts) && adverts[n].at <= tick {
			n++
		}
		r.hear(adverts[:n])
		adverts = adverts[n:]
		select {
		case <-r.table.Changed():
			r.take()
		default:
		}
		if math.Mod(tick+0.05, 1) < 0.1 {
			r.second(tick)
		}
	}
	return r.finish()
}

func (r *player) outages(tick float64) {
	for _, o := range r.sc.Outages {
		begins, ends := math.Abs(tick-o.From) < 0.05, math.Abs(tick-o.To) < 0.05
		switch {
		case o.Kind == "offline" && begins:
			r.table.ProxyDown(o.Proxy)
		case o.Kind == "offline" && ends:
			r.table.ProxyUp(o.Proxy)
		case o.Kind == "connecting" && begins:
			r.table.PauseProxy(o.Proxy)
		case o.Kind == "connecting" && ends:
			r.table.ResumeProxy(o.Proxy)
		}
	}
}

// hear passes adverts on, each proxy's as one batch.
func (r *player) hear(adverts []sent) {
	now := time.Now()
	for i, p := range r.sc.Proxies {
		var batch []ble.RawAdvert
		up := true
		for _, info := range r.table.Proxies() {
			up = up && (info.Name != p.Name || info.Up)
		}
		for _, s := range adverts {
			if s.proxy != i || !up {
				continue
			}
			batch = append(batch, s.raw)
			r.lastHeard[s.raw.Address] = now
			if heard := r.heard[s.raw.Address]; heard != nil && r.on {
				heard[number(s.raw.Data)]++
			}
		}
		r.got.Adverts += uint64(len(batch))
		r.table.Adverts(p.Name, now, batch)
	}
}

func number(data []byte) uint16 { return binary.BigEndian.Uint16(data[len(data)-2:]) }

// discover starts or ends the only session. bluetoothd invalidates at its end and starts anew.
func (r *player) discover(on bool) {
	r.take()
	r.on = on
	if on {
		r.table.SetDiscovery(all)
		return
	}
	r.table.SetDiscovery(nil)
}

func (r *player) take() {
	r.table.Take(func(rep *ble.Report) {
		if rep.Evicted {
			if _, there := r.objects[rep.Address]; there {
				delete(r.objects, rep.Address)
				r.got.Removed++
			}
			return
		}
		if _, there := r.objects[rep.Address]; !there {
			r.got.Added++
		}
		r.objects[rep.Address] = rep.At
		reported := r.reported[rep.Address]
		if reported == nil {
			return // of the crowd
		}
		for _, p := range rep.Payloads {
			n := number(p.Raw)
			reported[n]++
			if int(n) < r.newest[rep.Address] {
				r.got.Late++
			}
			r.newest[rep.Address] = max(r.newest[rep.Address], int(n))
		}
	})
}

// second is what bluetoothd's timer does to devices that were not heard for 30 s, and what must hold at any time.
func (r *player) second(tick float64) {
	for a, last := range r.objects {
		for _, s := range r.table.Sources(a) {
			if r.on && s.LastHeard.After(last) {
				last = s.LastHeard
			}
		}
		if time.Since(last) >= 30*time.Second {
			delete(r.objects, a)
			r.got.Removed++
		}
	}
	for _, w := range r.sc.Devices {
		last, ever := r.lastHeard[w.Address]
		if !ever || time.Since(last) > 20*time.Second {
			continue
		}
		if _, known := r.table.Lookup(w.Address); !known {
			r.t.Fatalf("%v s: %s was heard %v ago and made room for the crowd", tick, w.Address, time.Since(last))
		}
		if _, there := r.objects[w.Address]; r.on && !there && time.Since(last) < 5*time.Second && time.Since(r.onSince(tick)) > 5*time.Second {
			r.t.Fatalf("%v s: %s was heard %v ago and is not on the bus", tick, w.Address, time.Since(last))
		}
	}
}

// onSince is when the present discovery began.
func (r *player) onSince(tick float64) time.Time {
	for _, d := range r.sc.Discovery {
		if tick >= d.From && tick < d.To {
			return r.start.Add(time.Duration(d.From * float64(time.Second)))
		}
	}
	return time.Now()
}

func (r *player) finish() outcome {
	r.take()
	for a, heard := range r.heard {
		newest := -1
		for n := range heard {
			r.got.Contents++
			newest = max(newest, int(n))
			reported := r.reported[a][n]
			switch {
			case reported == 0:
				r.got.Lost++
			case reported > 1:
				r.got.Twice++
			}
		}
		if d := r.table.devices[a]; d == nil || int(number(d.content.newest().Raw)) != newest {
			r.t.Errorf("%s does not end with the newest content, %d", a, newest)
		}
	}
	st := r.table.Stats()
	r.got.Switches, r.got.Evicted, r.got.Expired = st.Switches, st.Evicted, st.Expired
	return r.got
}
