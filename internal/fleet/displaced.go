package fleet

import (
	"bytes"
	"time"

	"bluez-esphome/internal/apiconn"
)

const (
	// lookEvery is how often it is looked whether another host let go of a proxy whose advertisements a host here waits
	// for: who moves from the original to the shared proxy is to hear something soon. lookTimes is how often in all,
	// since both may be kept for good.
	lookEvery = 30 * time.Second
	lookTimes = 20
)

// stateChanged offers a proxy that another host has: the rest of the device is to be had, and its Bluetooth as soon as
// the other host lets go of it, so that hosts may be moved in any order. It is taken back when the proxy is gone.
func (p *Proxy) stateChanged() {
	state := p.State()
	p.mu.Lock()
	up, offered, known := p.up, p.shared != nil, p.said.MAC != "" && p.instance == ""
	gone := p.let && !up && state != apiconn.StateConnecting && state != apiconn.StateOnline // it was let in, and did not come up
	p.let = p.let && !gone
	p.mu.Unlock()
	if gone {
		p.set.reconsider(p)
	}
	switch {
	case up:
	case state == apiconn.StateDisplaced && known && !offered:
		p.set.cfg.Hooks.Displaced(p)
		if p.Shared() != nil {
			p.set.background(p.lookOut)
		}
	case offered && (state == apiconn.StateOffline || state == apiconn.StateAuthFailed):
		p.set.cfg.Hooks.Offline(p)
	}
}

// lookOut has a proxy that another host has looked at more often, as long as a host here waits for its advertisements.
func (p *Proxy) lookOut() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for range lookTimes {
		select {
		case <-p.set.ctx().Done():
			return
		case <-tick.C:
		}
		sh := p.Shared()
		if sh == nil || p.Up() {
			return
		}
		if sh.Wanted() {
			p.Retry()
		}
	}
}

// outdated reports whether the device is another than it was when it was offered, by what it says of itself. p.mu is
// held.
func (p *Proxy) outdated() bool {
	return p.shared != nil && !bytes.Equal(p.offered.Said, p.info.Said)
}
