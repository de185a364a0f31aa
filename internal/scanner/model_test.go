package scanner

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
)

var airTraces = flag.Int("air-traces", 12, "how many random traces TestTimeRunsForward plays for each row of its table")

// heardTrace says how one device is heard, at random: contents that never come again, each sent several times.
type heardTrace struct {
	proxies  int
	lag      time.Duration // each proxy's is up to this, the first one's is 0
	jitter   time.Duration // each advert is passed on later than that by up to this, in order
	loss     float64       // each proxy's is up to this
	interval time.Duration // between adverts
	copies   int           // of each content
	contents int
}

// passed is one advert as a proxy passes it on.
type passed struct {
	at    time.Time
	proxy int
	n     int // number of the content
}

// figures are what came of traces.
type figures struct {
	heard   int           // contents that some proxy passed on
	lost    int           // of those, never reported, though nothing newer had been when it was passed on first
	hidden  int           // of those, never reported, as something newer had been
	back    int           // reports of an older content than was reported before
	twice   int           // traces in which that happened more than once
	delay   time.Duration // sum, from when a content was passed on first until it was reported
	delayed int           // contents in that sum
}

func (f *figures) add(g figures) {
	f.heard, f.lost, f.hidden, f.back = f.heard+g.heard, f.lost+g.lost, f.hidden+g.hidden, f.back+g.back
	f.twice, f.delay, f.delayed = f.twice+g.twice, f.delay+g.delay, f.delayed+g.delayed
}

func (f *figures) meanDelay() time.Duration { return f.delay / time.Duration(max(1, f.delayed)) }

func (tr *heardTrace) pass(rnd *rand.Rand, start time.Time) []passed {
	type advert struct {
		at time.Time
		n  int
	}
	var air []advert
	for n := range tr.contents {
		for range tr.copies {
			start = start.Add(tr.interval + time.Duration(rnd.IntN(10))*time.Millisecond)
			air = append(air, advert{start, n})
		}
	}
	var out []passed
	for p := range tr.proxies {
		lag, loss := time.Duration(rnd.Float64()*float64(tr.lag)), rnd.Float64()*tr.loss
		if p == 0 {
			lag = 0
		}
		var last time.Time
		for _, a := range air {
			if rnd.Float64() < loss {
				continue
			}
			came := a.at.Add(lag + time.Duration(rnd.Float64()*float64(tr.jitter)))
			if came.Before(last) {
				came = last
			}
			last = came
			out = append(out, passed{came, p, a.n})
		}
	}
	slices.SortStableFunc(out, func(a, b passed) int { return a.at.Compare(b.at) })
	return out
}

// play passes a trace to a table with a session that discovers and a host that takes the merged air, which both have to
// get the same.
func (tr *heardTrace) play(t *testing.T, seed uint64) figures {
	rnd := rand.New(rand.NewPCG(seed, 1))
	table := New(Config{})
	defer table.Close()
	table.SetDiscovery(all)
	names := make([]string, tr.proxies)
	for p := range names {
		names[p] = fmt.Sprint("proxy", p)
		table.ProxyUp(names[p])
	}
	var f figures
	first, late, reported := map[int]time.Time{}, map[int]bool{}, map[int]bool{}
	shown := -1
	var relayed []ble.RawAdvert
	for _, h := range tr.pass(rnd, time.Now()) {
		if _, ok := first[h.n]; !ok {
			first[h.n], late[h.n] = h.at, h.n < shown
		}
		data := binary.BigEndian.AppendUint32([]byte{2, 1, 6, 7, 0x16, 0xd2, 0xfc}, uint32(h.n))
		relayed = table.Relay(names[h.proxy], h.at, []ble.RawAdvert{{Address: dev, RSSI: -60, Data: data}}, relayed[:0])
		before := shown
		table.Take(func(r *ble.Report) {
			for _, p := range r.Payloads {
				n := int(binary.BigEndian.Uint32(p.Raw[7:]))
				if n < shown {
					f.back++
				}
				shown = n
				if !reported[n] {
					reported[n] = true
					f.delay += h.at.Sub(first[n])
					f.delayed++
				}
			}
		})
		for _, a := range relayed {
			if n := int(binary.BigEndian.Uint32(a.Data[7:])); n != shown {
				t.Fatalf("seed %d of %+v: a host gets %d, D-Bus %d after %d", seed, tr, n, shown, before)
			}
		}
	}
	f.heard = len(first)
	for n := range first {
		switch {
		case reported[n]:
		case late[n]:
			f.hidden++
		default:
			f.lost++
		}
	}
	if f.back > 1 {
		f.twice = 1
	}
	return f
}

// TestTimeRunsForward plays random traces and compares what is reported with when it was sent: a report of what is
// older than what was reported before comes once a trace at most, but for a few in a thousand traces, and nothing is
// lost but what was heard first when a newer content had been reported. To write the table of docs/evidence/time.md:
//
//	go test ./internal/scanner -run TestTimeRunsForward -v -air-traces 500
func TestTimeRunsForward(t *testing.T) {
	t.Logf("| proxies | lag | adverts | copies | loss | contents | lost | only heard late | steps back | traces with two | mean delay |")
	var all figures
	traces := 0
	for _, proxies := range []int{2, 4, 8} {
		for _, lag := range []time.Duration{0, 300 * time.Millisecond, time.Second, 3 * time.Second} {
			for _, sent := range []struct {
				interval time.Duration
				copies   int
			}{{100 * time.Millisecond, 1}, {200 * time.Millisecond, 5}, {time.Second, 1}} {
				for _, loss := range []float64{0, 0.2, 0.4} {
					tr := heardTrace{
						proxies: proxies, lag: lag, jitter: 100 * time.Millisecond, loss: loss,
						interval: sent.interval, copies: sent.copies, contents: 60,
					}
					var row figures
					for seed := range *airTraces {
						row.add(tr.play(t, uint64(seed)))
					}
					t.Logf("| %d | %v | %v | %d | %.0f %% | %d | %d | %d | %d | %d | %v |", proxies, lag, sent.interval, sent.copies, 100*loss,
						row.heard, row.lost, row.hidden, row.back, row.twice, row.meanDelay().Round(100*time.Microsecond))
					all.add(row)
					traces += *airTraces
				}
			}
		}
	}
	t.Logf("%d traces: %+v, mean delay %v", traces, all, all.meanDelay())
	if all.twice*200 > traces {
		t.Errorf("%d of %d traces step back more than once", all.twice, traces)
	}
	if all.back*10 > traces {
		t.Errorf("%d steps back in %d traces", all.back, traces)
	}
	if all.lost*1000 > all.heard {
		t.Errorf("%d of %d contents were lost", all.lost, all.heard)
	}
	if all.meanDelay() > 20*time.Millisecond {
		t.Errorf("contents are reported %v after they were heard", all.meanDelay())
	}
}
