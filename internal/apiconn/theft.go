package apiconn

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// A proxy has one subscriber, to whom alone its adverts and the answers to GATT requests go. Since ESPHome 2026.7 the
// newest subscription wins, and who loses it is not told. So when the adverts pause, a question that only the subscriber
// gets an answer to tells whose the proxy is:
//
//	adverts pause -> read an attribute of a device that is not there, then ask for the slots
//	   slots, and before them the read's error -> the proxy is ours: quiet, after 90 s deaf
//	   slots only, three times                 -> somebody else's: displaced
//
// The other host gets the error for a device that it does not know, and skips it.
const (
	// suspectAfter is how long adverts may pause before we ask; a proxy that connects pauses for up to ten seconds.
	suspectAfter = 15 * time.Second
	probeEvery   = 30 * time.Second
	probeRounds  = 3 // unanswered ones; answers may be late on a congested proxy
	// deafAfter is how long a proxy that heard something may hear nothing.
	deafAfter = 90 * time.Second
	// maxDeafPause bounds the growing pauses between attempts to get the adverts back.
	maxDeafPause = 30 * time.Minute
	// probeAddress is no device's: the Ethernet prefix 00-00-00 belongs to nobody who makes radios.
	probeAddress ble.Address = 0x000000000001
	probeHandle  uint32      = 1
)

// Who has lost a proxy to another host takes it back after pauses that grow with each loss, so that two hosts never take
// turns for long.
const (
	retakeFirst, retakeMost = time.Minute, 30 * time.Minute    // after the first loss it is taken back at once
	yieldFirst, yieldMost   = 30 * time.Minute, 24 * time.Hour // without a sign of the other host meanwhile
	// calm is how long the proxy must have been ours for losses to be forgotten.
	retakeCalm, yieldCalm = 10 * time.Minute, 24 * time.Hour
	slotsEvery            = time.Minute // how often a displaced session looks for signs of the other host
)

var (
	errDeaf = &DeafError{why: "no advertisements come any more although the proxy answers: its radio hangs, or another API client took the subscription; restart the proxy if no other host uses it"}
	// errDeafRadio: the subscription is known to be ours.
	errDeafRadio  = &DeafError{why: "no advertisements come any more although the subscription is ours: the proxy's radio hangs, or nothing is near; restart the proxy"}
	errNeverHeard = &DeafError{why: "no advertisements came yet: another API client (Home Assistant?) may have the subscription, which this firmware does not tell; remove the proxy there, or update its ESPHome"}
	errStolen     = &DisplacedError{why: "another API client (Home Assistant?) took the subscription; remove the proxy there, share it from here, or set on_conflict: retake"}
)

// probe is what is known of whose the proxy is.
type probe struct {
	used atomic.Bool // it was asked since adverts last came

	mu       sync.Mutex
	waiting  bool // for slots after a read
	answered bool // the read's error came
	rounds   int  // unanswered, in a row
	ours     bool // the last verdict
	stolen   bool
	since    time.Time // of the theft, or of the other host's last sign
	retries  int       // since the theft
}

// thefts of one proxy, over all sessions.
type thefts struct {
	count int
	since time.Time // when the proxy last became ours
}

// pause is how long to leave a proxy that was lost to the other host, after so many attempts to get it back.
func (t thefts) pause(policy OnConflict, retries int) time.Duration {
	n := t.count + retries
	first, most, factor := yieldFirst, yieldMost, 4
	if policy == Retake {
		if n--; n == 0 {
			return 0
		}
		first, most, factor = retakeFirst, retakeMost, 2
	}
	for ; n > 1 && first < most; n-- {
		first *= time.Duration(factor)
	}
	return min(first, most)
}

// vigil is the watch's own memory of a quiet proxy.
type vigil struct {
	nextProbe, nextDeaf, nextSlots time.Time
	deafPause                      time.Duration
}

// listen looks whether adverts still come, and returns when to look again.
func (s *session) listen(now time.Time, v *vigil) time.Time {
	if at, ok := s.displaced(now, v); ok {
		return at
	}
	heard := s.begun
	if last := s.lastAdvert.Load(); last >= 0 {
		heard = s.at(last)
	} else if !s.p.everHeard() {
		return s.listenFirst(now, v)
	}
	if back := s.at(s.regained.Load()); back.After(heard) {
		heard = back
	}
	quiet := now.Sub(heard)
	if quiet < suspectAfter {
		v.deafPause = deafAfter
		return heard.Add(suspectAfter)
	}
	if canProbe := s.info.Features.Has(ble.FeatureActiveConnections); canProbe && !now.Before(v.nextProbe) {
		v.nextProbe = now.Add(probeEvery)
		s.askWhose(true)
	}
	if quiet >= deafAfter && !now.Before(v.nextDeaf) {
		v.nextDeaf = now.Add(v.deafPause)
		v.deafPause = min(2*v.deafPause, maxDeafPause)
		s.goDeaf()
	}
	return now.Add(suspectAfter)
}

// listenFirst is listen for a proxy that never heard anything. Perhaps there is nothing to hear; or, where no message 126
// proves the subscription, another host has had it from the start, of which firmware says nothing.
func (s *session) listenFirst(now time.Time, v *vigil) time.Time {
	if s.info.Features.Has(ble.FeatureStateAndMode) || !s.info.Features.Has(ble.FeaturePassiveScan) || now.Sub(s.begun) < suspectAfter {
		return now.Add(suspectAfter)
	}
	s.probe.mu.Lock()
	ours := s.probe.ours
	s.probe.mu.Unlock()
	switch {
	case ours: // and stays so: such firmware grants a subscription only if nobody has it
	case s.info.Features.Has(ble.FeatureActiveConnections):
		if !now.Before(v.nextProbe) {
			v.nextProbe = now.Add(probeEvery)
			s.askWhose(true)
		}
	case now.Sub(s.begun) >= deafAfter && !now.Before(v.nextDeaf): // nothing tells
		v.nextDeaf = now.Add(v.deafPause)
		v.deafPause = min(2*v.deafPause, maxDeafPause)
		s.deaf.Store(true)
		s.p.setState(StateDeaf, errNeverHeard)
		s.p.explain("The proxy hears nothing", errNeverHeard)
		s.subscribe()
	}
	return now.Add(suspectAfter)
}

// goDeaf shows a proxy that hears nothing any more as such, and subscribes again where that takes it from nobody.
func (s *session) goDeaf() {
	s.probe.mu.Lock()
	ours := s.probe.ours
	s.probe.mu.Unlock()
	err := errDeaf
	if ours {
		err = errDeafRadio
	}
	s.deaf.Store(true)
	s.p.setState(StateDeaf, err)
	s.p.explain("The proxy went deaf", err)
	if ours || s.p.cfg.OnConflict == Retake || !s.newestWins() {
		s.subscribe()
	}
}

// newestWins: before ESPHome 2026.7 a second subscription was ignored.
func (s *session) newestWins() bool { return versionAtLeast(s.info.Version, 2026, 7) }

// askWhose sends the read and, behind it, the question for the slots, which everybody gets an answer to.
func (s *session) askWhose(fresh bool) {
	s.probe.mu.Lock()
	s.probe.waiting, s.probe.answered = true, false
	if fresh {
		s.probe.rounds = 0
	}
	s.probe.mu.Unlock()
	s.probe.used.Store(true)
	s.w.post(&apipb.BluetoothGATTReadRequest{Address: uint64(probeAddress), Handle: probeHandle}, &apipb.SubscribeBluetoothConnectionsFreeRequest{})
}

// probeAnswered notes the error that only the subscriber gets.
func (s *session) probeAnswered() {
	s.probe.mu.Lock()
	s.probe.answered, s.probe.ours = true, true
	s.probe.mu.Unlock()
}

// judge takes a message 81, which ends a round of the probe, or shows the other host at work. It is called by the reader.
func (s *session) judge(slots ble.Slots) {
	foreign := len(s.p.foreign(slots)) > 0
	s.probe.mu.Lock()
	again, stolen := false, false
	switch {
	case s.probe.stolen:
		if foreign {
			s.probe.since = time.Now()
		}
	case s.probe.waiting && s.probe.answered:
		s.probe.waiting = false
	case s.probe.waiting:
		s.probe.rounds++
		stolen = s.probe.rounds >= probeRounds
		again = !stolen
		s.probe.waiting = again
	}
	s.probe.mu.Unlock()
	if again {
		s.askWhose(false)
	}
	if stolen || foreign && s.deaf.Load() {
		s.stolenFromUs(slots)
	}
}

// stolenFromUs shows that another host has the proxy, and lets go of the links: their values go there now.
func (s *session) stolenFromUs(slots ble.Slots) {
	p, now := s.p, time.Now()
	s.probe.mu.Lock()
	if s.probe.stolen {
		s.probe.mu.Unlock()
		return
	}
	s.probe.stolen, s.probe.ours, s.probe.since, s.probe.retries = true, false, now, 0
	s.probe.mu.Unlock()
	s.probe.used.Store(true)
	s.deaf.Store(false)
	p.mu.Lock()
	calm := yieldCalm
	if p.cfg.OnConflict == Retake {
		calm = retakeCalm
	}
	if now.Sub(p.thefts.since) > calm {
		p.thefts.count = 0
	}
	p.thefts.count++
	var ours []ble.Address
	for a := range p.ours {
		ours = append(ours, a)
	}
	clear(p.ours)
	p.mu.Unlock()
	why := errStolen
	if s.lastAdvert.Load() < 0 {
		why = errDisplaced // it never was ours
	}
	p.setState(StateDisplaced, why)
	p.explain("The proxy is not ours", why)
	slices.Sort(ours)
	for _, a := range ours {
		if !slots.HasAllocated || slices.Contains(slots.Allocated, a) {
			s.w.post(deviceRequest(a, apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_DISCONNECT))
		}
		p.cfg.Handler.LinkDown(p, a, codeLocalHost)
		s.ops.disconnected(a, codeLocalHost, false)
	}
}

// codeLocalHost is HCI's: the connection was terminated by the local host.
const codeLocalHost = 0x16

// displaced watches a proxy that another host has, and asks for it when its time has come. It reports false if
// the proxy is not known to be lost.
func (s *session) displaced(now time.Time, v *vigil) (time.Time, bool) {
	s.p.mu.Lock()
	t := s.p.thefts
	s.p.mu.Unlock()
	s.probe.mu.Lock()
	defer s.probe.mu.Unlock()
	if !s.probe.stolen {
		return time.Time{}, false
	}
	due := s.probe.since.Add(t.pause(s.p.cfg.OnConflict, s.probe.retries))
	if !s.newestWins() {
		due = now // it is only granted if it is free
	}
	switch {
	case !now.Before(due):
		s.probe.retries++
		s.probe.since = now
		s.p.log.Info("Asking for the proxy again", "losses", t.count, "attempt", s.probe.retries)
		s.subscribe()
	case !now.Before(v.nextSlots):
		v.nextSlots = now.Add(slotsEvery)
		s.w.post(&apipb.SubscribeBluetoothConnectionsFreeRequest{})
	}
	return now.Add(slotsEvery), true
}

// hearing notes that adverts come, after a time when they did not. It is called by the reader.
func (s *session) hearing() {
	s.hears = true
	p := s.p
	p.mu.Lock()
	p.hears = true
	p.mu.Unlock()
	s.deaf.Store(false)
	s.reinstated()
	s.recovered(StateDeaf)
	s.recovered(StateDisplaced)
}

// reinstated notes a message that only the subscriber gets.
func (s *session) reinstated() {
	s.probe.mu.Lock()
	was := s.probe.stolen
	s.probe.waiting, s.probe.answered, s.probe.rounds, s.probe.stolen = false, false, 0, false
	s.probe.mu.Unlock()
	s.probe.used.Store(false)
	if was {
		s.regained.Store(int64(time.Since(s.begun)))
		s.p.mu.Lock()
		s.p.thefts.since = time.Now()
		s.p.mu.Unlock()
		s.recovered(StateDisplaced)
	}
}

func (p *Proxy) everHeard() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hears
}

// nudge pings a session that has been silent while its proxy was heard elsewhere: if the device has restarted, the answer
// is a reset. It does so at most once a second.
func (s *session) nudge() {
	now := time.Since(s.begun)
	last := s.nudged.Load()
	if now-time.Duration(s.lastRead.Load()) < time.Second || now-time.Duration(last) < time.Second || !s.nudged.CompareAndSwap(last, int64(now)) {
		return
	}
	s.w.post(&apipb.PingRequest{})
}
