package main

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// How lively the air is.
const (
	replaceEvery = 300 * time.Millisecond // a beacon goes and another comes
	changeEvery  = 50 * time.Millisecond  // a beacon says something else
	notifyEvery  = 100 * time.Millisecond // every peripheral notifies the next number
	burstEvery   = 20 * time.Second       // one peripheral notifies many at once
	burst        = 100
)

// churn lets beacons come, go and change.
func (s *soak) churn(ctx context.Context, r *rand.Rand) {
	air := s.world.sim.Air()
	var in, out []int
	for i := range pool {
		if i < visible-linked {
			in = append(in, i)
		} else {
			out = append(out, i)
		}
	}
	replace, change := time.NewTicker(replaceEvery), time.NewTicker(changeEvery)
	defer replace.Stop()
	defer change.Stop()
	for n := uint32(1); ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-replace.C:
			k := r.IntN(len(in))
			gone := in[k]
			in[k] = out[0]
			out = append(out[1:], gone)
			s.must(air.Advertise(beaconID(gone), false))
			s.must(air.Advertise(beaconID(in[k]), true))
			s.tally.add("devices that went and came", 1)
		case <-change.C:
			i := in[r.IntN(len(in))]
			s.must(air.SetAdvertisement(beaconID(i), beaconPayload(i, n), nil))
			s.tally.add("changed advertisements", 1)
		}
	}
}

// notify sends the peripherals' numbers; the simulation passes on what somebody subscribed to.
func (s *soak) notify(ctx context.Context, r *rand.Rand) {
	next := make([]uint32, linked)
	send := func(i int) {
		s.must(s.world.sim.Air().Notify(linkID(i), numbersHandle, binary.LittleEndian.AppendUint32(nil, next[i]), false))
		next[i]++
	}
	tick, bursts := time.NewTicker(notifyEvery), time.NewTicker(burstEvery)
	defer tick.Stop()
	defer bursts.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for i := range linked {
				send(i)
			}
		case <-bursts.C:
			i := r.IntN(linked)
			for range burst {
				send(i)
			}
		}
	}
}

// must notes a failure of the simulation itself.
func (s *soak) must(err error) {
	if err != nil {
		s.found.add("simulation", err.Error())
	}
}
