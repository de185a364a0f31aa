package proxysim

import (
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
)

const (
	// scanSwitch is how long the radio takes to start or stop scanning.
	scanSwitch = 10 * time.Millisecond
	// scanDuration is how long one scan lasts before it is started anew.
	scanDuration = 5 * time.Minute
	// scanInterval and scanWindow are when a scanner with a narrow window listens.
	scanInterval = 320 * time.Millisecond
	scanWindow   = 30 * time.Millisecond
)

// scan is the scanner of a proxy:
//
//	IDLE ──> STARTING ──> RUNNING ──> STOPPING ──> IDLE
//
// It starts whenever it is idle and no connection is being made, and stops for
// a connection attempt, a change of mode and, to start at once again, every
// five minutes.
type scan struct {
	state ble.ScannerState
	mode  ble.ScannerMode
	began time.Time // since when it is RUNNING
	event *event    // the next change of state
}

func (p *Proxy) configuredMode() ble.ScannerMode {
	if p.cfg.ScanPassive || p.cfg.PassiveRadio {
		return ble.ScanPassive
	}
	return ble.ScanActive
}

// setScan changes the state and says so.
func (p *Proxy) setScan(state ble.ScannerState) {
	p.air.sched.stop(p.scan.event)
	p.scan.event = nil
	p.scan.state = state
	p.tell(p.sendScan)
}

func (p *Proxy) sendScan(s *apiserver.Session) {
	if !p.cfg.Features.Has(ble.FeatureStateAndMode) {
		return
	}
	st := apiserver.ScannerStatus{State: p.scan.state, Mode: p.scan.mode}
	if p.fw.hasConfiguredMode() {
		st.Configured = p.configuredMode()
	}
	s.Scanner(st)
}

// startScan starts the scanner if it is idle and may run.
func (p *Proxy) startScan() {
	if p.scan.state != ble.ScannerIdle || p.attempt != nil || p.off {
		return
	}
	p.setScan(ble.ScannerStarting)
	p.scan.event = p.air.sched.after(scanSwitch, func() {
		p.scan.began = time.Now()
		p.setScan(ble.ScannerRunning)
		p.scan.event = p.air.sched.after(scanDuration, func() {
			p.setScan(ble.ScannerIdle)
			p.startScan()
		})
	})
}

// stopScan stops the scanner; it starts again by itself if it may.
func (p *Proxy) stopScan() {
	if p.scan.state != ble.ScannerRunning && p.scan.state != ble.ScannerStarting {
		return
	}
	p.setScan(ble.ScannerStopping)
	p.scan.event = p.air.sched.after(scanSwitch, func() {
		p.setScan(ble.ScannerIdle)
		p.startScan()
	})
}

// hear is one advertising event of a peripheral.
func (p *Proxy) hear(per *peripheral) {
	rssi, ok := per.rssiAt(p.cfg.Name)
	if !ok {
		return
	}
	if c := p.attempt; c != nil {
		if p.scan.state == ble.ScannerIdle && c.addr == per.spec.Address && c.matches(per) {
			c.reach(per)
		}
		return
	}
	if p.scan.state != ble.ScannerRunning || p.subscriber == nil || !p.listens() {
		return
	}
	switch {
	case p.scan.mode == ble.ScanPassive:
		p.report(per, rssi, per.adv)
	case p.cfg.SplitReports && len(per.scanRsp) > 0:
		p.report(per, rssi, per.adv)
		p.report(per, rssi, per.scanRsp)
	default:
		p.report(per, rssi, per.both)
	}
}

// listens reports whether the running scanner has its window open now.
func (p *Proxy) listens() bool {
	return p.links == 0 || !p.fw.narrowsScan() || time.Since(p.scan.began)%scanInterval < scanWindow
}

// report takes one report of the radio into the batch.
func (p *Proxy) report(per *peripheral, rssi int8, data []byte) {
	a := ble.RawAdvert{Address: per.spec.Address, Type: per.addrT, RSSI: rssi, Data: data}
	if p.cfg.Filter != nil && !p.cfg.Filter(a) {
		return
	}
	p.batch = append(p.batch, a)
	if len(p.batch) >= p.fw.batch() {
		p.flush()
	}
}

// SubscribeAdverts implements apiserver.Backend. One session has everything: the first before
// 2026.7, the newest since.
func (p *Proxy) SubscribeAdverts(s *apiserver.Session, raw bool) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	if p.subscriber != nil && p.subscriber != s && !p.fw.newestSubscriberWins() {
		p.say(logWarn, "only one API subscription is allowed at a time", "client", s.ClientName())
		return
	}
	p.subscribe(s, p.fw.alwaysRaw() || raw && p.cfg.Features.Has(ble.FeatureRawAdvertisements))
	p.sendScan(s)
}

// UnsubscribeAdverts implements apiserver.Backend.
func (p *Proxy) UnsubscribeAdverts(s *apiserver.Session) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	p.unsubscribe(s)
}

// SubscribeSlots implements apiserver.Backend. Whoever asks is answered; only the subscriber hears of changes.
func (p *Proxy) SubscribeSlots(s *apiserver.Session) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	s.Slots(p.slots())
}

// SetScanMode implements apiserver.Backend.
func (p *Proxy) SetScanMode(_ *apiserver.Session, mode ble.ScannerMode) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	if p.cfg.PassiveRadio && mode == ble.ScanActive {
		p.tell(p.sendScan)
		return
	}
	if mode == p.scan.mode || !p.cfg.Features.Has(ble.FeatureStateAndMode) {
		return
	}
	p.scan.mode = mode
	p.stopScan()
}

// ScanMode is the present mode of the scanner.
func (p *Proxy) ScanMode() ble.ScannerMode {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	return p.scan.mode
}
