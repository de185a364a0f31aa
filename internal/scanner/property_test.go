package scanner

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"bluez-esphome/internal/ble"
)

func logTo(b *strings.Builder) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// drawSent makes what a device sends: payloads that change each time, out of few, so that it often
// returns to what it said before.
func drawSent(t *rapid.T) []string {
	kinds := rapid.SliceOfN(rapid.IntRange(0, 4), 1, 12).Draw(t, "sent")
	kinds = slices.Compact(kinds)
	var sent []string
	for _, k := range kinds {
		sent = append(sent, fmt.Sprintf("020106%s0416d2fc%02x", []string{"03094142", "", "03030f18", "020a04", "0309434a"}[k], k))
	}
	return sent
}

type heardBy struct {
	proxy   string
	payload string
}

// interleave mixes what the proxies hear in any way that keeps each proxy's order.
func interleave(t *rapid.T, streams map[string][]string) []heardBy {
	var out []heardBy
	for len(streams) > 0 {
		p := rapid.SampledFrom(sortedKeys(streams)).Draw(t, "next")
		out = append(out, heardBy{p, streams[p][0]})
		streams[p] = streams[p][1:]
		if len(streams[p]) == 0 {
			delete(streams, p)
		}
	}
	return out
}

func sortedKeys(m map[string][]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// play feeds a table and gives, in order, the payloads it reported, taking them at drawn moments or each time, and
// what a client sees in the end.
func play(t *rapid.T, heard []heardBy, step time.Duration, takeEach bool) (*Table, []string, shownDevice) {
	table := New(Config{})
	table.SetDiscovery(all)
	for _, p := range []string{"A", "B", "C"} {
		table.ProxyUp(p)
	}
	var reported []string
	shown := shownDevice{ServiceData: map[string]string{}, ManufacturerData: map[string]string{}}
	take := func() {
		table.Take(func(r *ble.Report) {
			shown.apply(r)
			for _, p := range r.Payloads {
				reported = append(reported, hex.EncodeToString(p.Raw))
			}
		})
	}
	at := time.Now()
	for _, h := range heard {
		data, _ := hex.DecodeString(h.payload)
		at = at.Add(step)
		rssi := int8(rapid.IntRange(-100, -30).Draw(t, "rssi"))
		table.Adverts(h.proxy, at, []ble.RawAdvert{{Address: dev, RSSI: rssi, Data: data}})
		if takeEach || rapid.Bool().Draw(t, "take") {
			take()
		}
		owners := 0
		for _, s := range table.Sources(dev) {
			if s.Owner {
				owners++
			}
		}
		if owners != 1 {
			t.Fatalf("%d owners", owners)
		}
	}
	take()
	return table, reported, shown
}

// Each proxy misses some of what is sent but hears the last, each as soon as it is sent: no payload that anybody
// heard is missing from the reports, and the table ends with the last.
func TestNothingIsLostProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := drawSent(t)
		last := sent[len(sent)-1]
		var heard []heardBy
		want := map[string]bool{last: true}
		for _, s := range sent {
			for _, p := range rapid.Permutation([]string{"A", "B", "C"}).Draw(t, "order") {
				times := rapid.IntRange(0, 2).Draw(t, "times")
				if p == "A" {
					times++ // one proxy keeps up with the device: who is ahead is known
				}
				for range times {
					heard = append(heard, heardBy{p, s})
					want[s] = true
				}
			}
		}
		step := time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond
		table, reported, _ := play(t, heard, step, false)
		for p := range want {
			if !slices.Contains(reported, p) {
				t.Fatalf("%s was never reported: %v", p, reported)
			}
		}
		if reported[len(reported)-1] != last {
			t.Fatalf("reported %s last, want %s", reported[len(reported)-1], last)
		}
		d := table.List()[0]
		if got := hex.EncodeToString(d.Last.Raw); got != last || d.LastHeard.IsZero() {
			t.Fatalf("ended with %s, want %s (%+v)", got, last, d)
		}
	})
}

// Whatever came before, in whatever order: what all proxies keep saying is what the table says in the end.
func TestEndsWithWhatIsSaidProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := drawSent(t)
		last := sent[len(sent)-1]
		streams := map[string][]string{}
		for _, p := range []string{"A", "B", "C"} {
			for _, s := range sent[:len(sent)-1] {
				for range rapid.IntRange(0, 2).Draw(t, "times") {
					streams[p] = append(streams[p], s)
				}
			}
			streams[p] = append(streams[p], last)
		}
		heard := interleave(t, streams)
		step := time.Duration(rapid.IntRange(100, 3000).Draw(t, "ms")) * time.Millisecond
		for range int((replayWindow+time.Second)/step) + 1 {
			heard = append(heard, heardBy{rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "again"), last})
		}
		table, reported, _ := play(t, heard, step, true)
		if reported[len(reported)-1] != last || hex.EncodeToString(table.List()[0].Last.Raw) != last {
			t.Fatalf("reported %v, which does not end with %s", reported, last)
		}
	})
}

// All proxies hear everything, each with a delay of its own, which the device's intervals outlast: the reports
// are what one radio would have heard, each change once and in order, and a client ends up with the same device.
func TestSeveralProxiesAreLikeOneProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := drawSent(t)
		streams := map[string][]string{}
		for _, p := range []string{"A", "B", "C"} {
			for _, s := range sent {
				for range rapid.IntRange(1, 3).Draw(t, "times") {
					streams[p] = append(streams[p], s)
				}
			}
		}
		heard := interleave(t, streams)
		_, reported, shown := play(t, heard, silenceSlack/time.Duration(len(heard)+1), true)
		if !slices.Equal(reported, sent) {
			t.Fatalf("reported %v\nsent     %v", reported, sent)
		}
		var one []heardBy
		for _, s := range sent {
			one = append(one, heardBy{"A", s})
		}
		_, _, want := play(t, one, time.Second, true)
		if d := cmp.Diff(want, shown, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("the device differs from what one proxy shows: %s", d)
		}
	})
}
