package gatt

import (
	"context"
	"time"

	"bluez-esphome/internal/ble"
)

// mtuWait bounds the question for the MTU of a link, which the proxy answers by itself.
const mtuWait = time.Second

// askMTU learns the MTU of a link that was made with the cached table, where firmware tells it: the device may take
// less than it did. It is asked after the table was found to be valid: the exchange of the MTU comes before anything
// else on a link, so that it is over where the Database Hash was read. Elsewhere the least MTU may be that from before
// it, and says nothing.
func (s *session) askMTU(ctx context.Context, l *link) {
	proxy, ok := l.ps.proxy.(MTUTeller)
	if !ok || !l.guessed || l.mtu == ble.MinMTU {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, mtuWait)
	defer cancel()
	mtu, err := proxy.LinkMTU(ctx, s.addr, s.typ)
	if err != nil {
		s.m.log.Debug("the proxy does not tell the MTU", "device", s.addr, "proxy", l.ps.name, "error", err)
		s.m.mu.Lock()
		if l.lost { // the request may have come after the link, and be an attempt
			s.m.goLocked(func(context.Context) { _ = s.m.disconnectAt(l.ps, s.addr, disconnectWait) })
		}
		s.m.mu.Unlock()
		return
	}
	mtu = ble.ClampMTU(uint32(mtu))
	if mtu == ble.MinMTU && l.evidence != byHash {
		return
	}
	s.m.mu.Lock()
	before := l.mtu
	l.mtu, l.guessed = mtu, false
	s.m.mu.Unlock()
	if mtu == before {
		return
	}
	s.m.log.Info("the MTU is not what it was", "device", s.addr, "proxy", l.ps.name, "was", before, "mtu", mtu)
	s.m.updateRecord(s.addr, func(r *Record) {
		if r.MTU == nil {
			r.MTU = make(map[string]int)
		}
		r.MTU[l.ps.id] = mtu
	})
}
