package daemon

import (
	"context"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/scanner"
)

// discovering is called in the bus's loop: it only notes and wakes. The merged adapter wants every proxy to scan actively,
// a proxy's own adapter that one.
func (s *proxySet) discovering(a *air, on bool) {
	if on {
		s.hold(a)
	}
	s.mu.Lock()
	if a.own == nil {
		s.policy.Discovering(on, time.Now())
	} else {
		a.own.policy.Discovering(on, time.Now())
	}
	s.mu.Unlock()
	s.modeChanged("")
}

// maxHold is how long a proxy may take to change to active scanning before what it hears counts anyway.
const maxHold = 2 * time.Second

// hold makes the proxies that are about to change to active scanning report no new device on the adapter before they did.
func (s *proxySet) hold(a *air) {
	held := map[string]uint32{}
	for _, p := range s.all() {
		wished, _ := p.wish()
		p.mu.Lock()
		passive := wished == ble.ScanPassive || p.scan.mode == ble.ScanPassive
		if p.cfg.ScanMode == config.ScanAuto && p.known && passive && (a.own == nil || p.own == a.own) {
			held[p.name] = 0
		}
		p.mu.Unlock()
	}
	for name := range held {
		held[name] = a.HoldProxy(name)
	}
	if len(held) > 0 {
		time.AfterFunc(maxHold, func() {
			for name, hold := range held {
				a.ReleaseProxy(name, hold)
			}
		})
	}
}

// modeChanged: another scan mode may be wished for a proxy, or without a name for all of them.
func (s *proxySet) modeChanged(name string) {
	for _, p := range s.all() {
		if name == "" || p.Name() == name {
			p.modeChanged()
		}
	}
}

// modeChanged has followMode look again at what is wished.
func (p *proxy) modeChanged() {
	select {
	case p.mode <- struct{}{}:
	default: // it is about to
	}
}

var scanModes = map[config.ScanMode]scanner.ScanMode{
	config.ScanAuto: scanner.ScanAuto, config.ScanActive: scanner.ScanAlwaysActive, config.ScanPassive: scanner.ScanAlwaysPassive,
}

// wish is the mode for the proxy now: active if either adapter on which it is heard, or a host that shares it, wants that. If again is not 0, the wish
// changes by itself after that time.
func (p *proxy) wish() (wish ble.ScannerMode, again time.Duration) {
	if sh := p.sharing(); p.cfg.ScanMode == config.ScanAuto && sh != nil && sh.WantsActive() {
		return ble.ScanActive, 0
	}
	own, mode, now := p.ownAdapter(), scanModes[p.cfg.ScanMode], time.Now()
	p.set.mu.Lock()
	defer p.set.mu.Unlock()
	wish, again = p.set.policy.Wish(mode, now)
	if own == nil {
		return wish, again
	}
	wish2, again2 := own.policy.Wish(mode, now)
	switch {
	case wish2 != ble.ScanActive:
		return wish, again
	case wish != ble.ScanActive:
		return wish2, again2
	case again == 0 || again2 == 0: // one of them lasts
		return wish, 0
	}
	return wish, max(again, again2)
}

// modePace is the least time between two changes of mode: each restarts the proxy's scanner, and hosts that share it may ask for any
// number of them.
const modePace = 250 * time.Millisecond

// followMode brings the proxy into the wished mode whenever that may have changed.
func (p *proxy) followMode(ctx context.Context) {
	var changes <-chan time.Time
	var last ble.ScannerMode
	var changed time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.mode:
		case <-changes:
		}
		mode, again := p.wish()
		if left := modePace - time.Since(changed); mode != last && left > 0 {
			changes = time.After(left)
			continue
		}
		if mode != last {
			last, changed = mode, time.Now()
		}
		if changes = nil; again > 0 {
			changes = time.After(again)
		}
		if err := p.SetScannerMode(ctx, mode); err != nil {
			p.set.d.log.Debug("Scan mode not set", "proxy", p.Name(), "error", err)
		}
	}
}
