package main

import (
	"context"
	"math/rand/v2"
	"time"

	"bluez-esphome/internal/proxysim"
)

const (
	// outageEvery is how often something fails; the fault itself lasts up to a minute, so several overlap.
	outageEvery = 10 * time.Second
	// massEvery is how often all proxies restart at once, as after a power cut.
	massEvery = 12 * time.Minute
	slowBy    = 300 * time.Millisecond
)

// outages lets proxies and links fail until the load is to settle.
func (s *soak) outages(ctx context.Context, r *rand.Rand) {
	ctx, stop := context.WithDeadline(ctx, s.started.Add(s.duration-settle-s.duration/20))
	defer stop()
	defer close(s.calm)
	var pending []func() // ends what is still wrong
	defer func() {
		for _, f := range pending {
			f()
		}
	}()
	tick, mass := time.NewTicker(outageEvery), time.NewTicker(massEvery)
	defer tick.Stop()
	defer mass.Stop()
	ends := make(chan int, 64)
	busy := map[int]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-mass.C:
			s.tally.add("restarts of all proxies at once", 1)
			for _, p := range s.world.sim.Proxies() {
				p.Restart(5 * time.Second)
			}
		case i := <-ends:
			pending[i]()
			pending[i] = func() {}
		case <-tick.C:
			i := r.IntN(proxies)
			if busy[i] {
				continue
			}
			busy[i] = true
			name, lasts, end := s.outage(s.world.sim.Proxies()[i], r)
			s.tally.add("outages: "+name, 1)
			n := len(pending)
			pending = append(pending, func() {
				end()
				busy[i] = false
			})
			time.AfterFunc(lasts, func() { ends <- n })
		}
	}
}

// outage makes one proxy fail, or a link; end makes it well again after lasts.
func (s *soak) outage(p *proxysim.Proxy, r *rand.Rand) (name string, lasts time.Duration, end func()) {
	lasts = time.Duration(10+r.IntN(50)) * time.Second
	well := func() { p.SetFault(proxysim.FaultNone) }
	switch r.IntN(8) {
	case 0:
		p.Restart(lasts)
		return "restart", lasts, func() {}
	case 1:
		p.PowerOff()
		return "plug pulled", lasts, func() {
			well()
			p.Restart(0)
		}
	case 2:
		p.SetFault(proxysim.FaultHalfOpen)
		return "half open", lasts, well
	case 3:
		p.SetFault(proxysim.FaultSilent)
		p.DropClients()
		return "accepts, then silence", lasts, well
	case 4:
		p.SetFault(proxysim.FaultRefuse)
		p.DropClients()
		return "refuses", lasts, well
	case 5:
		p.SetWriteDelay(slowBy)
		return "slow", lasts, func() { p.SetWriteDelay(0) }
	case 6:
		p.DropClients()
		return "reset", 0, func() {}
	}
	for range linked { // one that is connected
		if s.world.sim.Air().Disconnect(linkID(r.IntN(linked)), proxysim.ReasonTimeout) == nil {
			break
		}
	}
	return "link lost", 0, func() {}
}
