package apiconn

import (
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lockorder"
)

// A proxy has one subscriber, to whom alone its adverts and the answers to GATT requests go. Since ESPHome 2026.7 the
// newest subscription wins, and the host that loses it is not told. So when the adverts pause, a question that only the
// subscriber gets an answer to tells whose the proxy is:
//
//	adverts pause -> read an attribute of a device that is not there, then ask for the slots
//	   slots, and before them the read's error -> the proxy is ours: quiet, after 90 s deaf
//	   slots only, three times                 -> somebody else's: displaced
//
// Slots come unasked, too, whenever they change, and those that are under way come before the answer. So they count
// only once the question was asked again, and once each time.
//
// The other host gets the error for a device that it does not know, and skips it.
const (
	// suspectAfter is how long adverts may pause before we ask, and probeEvery how often we ask while they do: a theft is
	// noticed within 5 s. A question and its answer are four messages of 60 bytes together, which a proxy has answered in
	// 0.2 to 11 ms, also while it connects (esphome-contract.md §11.3); a proxy with nothing near costs 20 of them a
	// minute.
	suspectAfter = 3 * time.Second
	probeEvery   = 3 * time.Second
	probeRounds  = 3 // unanswered ones; answers may be lost on a congested proxy
	// probeAgain is how long an answer may take until the question is asked again: three times within the 5 s.
	probeAgain = 600 * time.Millisecond
	// deafAfter is how long a proxy that heard something may hear nothing.
	deafAfter = 90 * time.Second
	// maxDeafPause bounds the growing pauses between attempts to get the adverts back.
	maxDeafPause = 30 * time.Minute
	// probeAddress is no device's: the Ethernet prefix 00-00-00 belongs to nobody who makes radios.
	probeAddress ble.Address = 0x000000000001
	probeHandle  uint32      = 1
)

// A host that has lost a proxy to another one takes it back after pauses that grow with each loss, so that two hosts do
// not take turns for ever.
const (
	retakeFirst, retakeMost = time.Minute, 30 * time.Minute    // after the first loss it is taken back at once
	yieldFirst, yieldMost   = 30 * time.Minute, 24 * time.Hour // without a sign of the other host meanwhile
	// calm is how long the proxy must have been ours for losses to be forgotten.
	retakeCalm, yieldCalm = 10 * time.Minute, 24 * time.Hour
)

var (
	errDeaf = &DeafError{why: "no advertisements come any more although the proxy answers: its radio hangs, or another API client took the subscription; restart the proxy if no other host uses it"}
	// errDeafRadio: the subscription is known to be ours.
	errDeafRadio  = &DeafError{why: "no advertisements come any more although the subscription is ours: the proxy's radio hangs, or nothing is near; restart the proxy"}
	errNeverHeard = &DeafError{why: "no advertisements came yet: another API client (Home Assistant?) may have the subscription, which this firmware does not tell; remove the proxy there, or update its ESPHome"}
	errStolen     = &DisplacedError{why: "another API client (Home Assistant?) took the subscription; remove the proxy there, share it from here, take it with bluez-esphome take, or set on_conflict: retake"}
)

// probe is what is known about which host has the proxy.
type probe struct {
	used atomic.Bool // the question was asked since adverts last came

	mu       lockorder.Mutex[lockorder.Conflict]
	waiting  bool // a read was sent and the slots after it did not come yet
	answered bool // the read's error came
	rounds   int  // how many in a row had no answer to the read
	counts   bool // slots that come next without an answer to the read make one more round
	ours     bool // the last verdict
	stolen   bool
	granting bool      // the slots that come next show whether there was one for the question of whose.go
	noRoom   bool      // there was none
	asked    bool      // the slots that come next answer the question
	since    time.Time // of the theft, or of the other host's last sign
	retries  int       // since the theft
	// strangers hold slots, and nobody knows who asked for them.
	strangers []ble.Address
}

// thefts are the losses of one proxy to other hosts, over all sessions.
type thefts struct {
	count int
	since time.Time // when the proxy last became ours
}

// pause is how long to wait before the proxy is taken back from the other host, after that many attempts.
func (t thefts) pause(policy OnConflict, retries int) time.Duration {
	n := t.count + retries
	first, most, factor := yieldFirst, yieldMost, 4
	if policy == Retake {
		n--
		if n == 0 {
			return 0
		}
		first, most, factor = retakeFirst, retakeMost, 2
	}
	for ; n > 1 && first < most; n-- {
		first *= time.Duration(factor)
	}
	return min(first, most)
}

// vigil is what the watch remembers about a proxy that is quiet.
type vigil struct {
	nextProbe, nextDeaf, nextAsk time.Time
	nextRound                    time.Time // of the probe
	asking                       bool      // a slot is asked for, and the slots are to be looked at
	deafPause                    time.Duration
	lost                         bool // to another host, when last looked at
}

// listen checks whether adverts still come, and returns when to check again.
func (s *session) listen(now time.Time, v *vigil) time.Time {
	at, attempt, lost := s.displaced(now, v)
	if lost {
		s.p.nextAt(attempt.Sub(now))
		v.lost = true
		return at
	}
	if v.lost {
		s.p.nextAt(-1)
		v.lost = false
	}
	heard := s.begun
	never := false
	if last := s.lastAdvert.Load(); last >= 0 {
		heard = s.at(last)
	} else {
		never = !s.p.everHeard()
	}
	if back := s.at(s.regained.Load()); back.After(heard) {
		heard = back
	}
	quiet := now.Sub(heard)
	if quiet < suspectAfter {
		v.deafPause = deafAfter
		return heard.Add(suspectAfter)
	}
	canProbe := s.info.Features.Has(ble.FeatureActiveConnections) && now.Sub(s.at(s.lastValue.Load())) >= suspectAfter
	switch {
	case canProbe && !now.Before(v.nextProbe):
		v.nextProbe, v.nextRound = now.Add(probeEvery), now.Add(probeAgain)
		s.askWhose()
	case canProbe && !now.Before(v.nextRound):
		v.nextRound = v.nextProbe
		if s.askAgain() {
			v.nextRound = now.Add(probeAgain)
		}
	}
	again := now.Add(suspectAfter)
	if canProbe {
		again = earlier(v.nextProbe, v.nextRound)
	}
	if never {
		s.listenFirst(now, v)
		return again
	}
	if quiet >= deafAfter && !now.Before(v.nextDeaf) {
		v.nextDeaf = now.Add(v.deafPause)
		v.deafPause = min(2*v.deafPause, maxDeafPause)
		s.goDeaf()
	}
	return again
}

// listenFirst checks a proxy that has never heard anything. Perhaps there is nothing to hear; or, where neither a
// message 126 nor a read tells, another host has had the proxy from the start.
func (s *session) listenFirst(now time.Time, v *vigil) {
	f := s.info.Features
	if f.Has(ble.FeatureStateAndMode) || !f.Has(ble.FeaturePassiveScan) || f.Has(ble.FeatureActiveConnections) ||
		now.Sub(s.begun) < deafAfter || now.Before(v.nextDeaf) {
		return
	}
	v.nextDeaf = now.Add(v.deafPause)
	v.deafPause = min(2*v.deafPause, maxDeafPause)
	s.deaf.Store(true)
	s.p.setState(StateDeaf, errNeverHeard)
	s.p.explain("The proxy hears nothing", errNeverHeard)
	s.subscribe()
}

// goDeaf shows that the proxy hears nothing any more. It subscribes again if that takes the proxy from nobody.
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

// askWhose sends the read and, behind it, the request for the slots, which the proxy answers to every client.
func (s *session) askWhose() {
	s.probe.mu.Lock()
	s.probe.rounds, s.probe.counts = 0, false
	s.postProbe()
	s.probe.mu.Unlock()
}

// askAgain repeats the question if it was not answered yet, and reports whether it did.
func (s *session) askAgain() bool {
	s.probe.mu.Lock()
	defer s.probe.mu.Unlock()
	if !s.probe.waiting || s.probe.answered || s.probe.stolen {
		return false
	}
	s.probe.counts = true
	s.postProbe()
	return true
}

// postProbe sends both. The caller holds the probe's lock.
func (s *session) postProbe() {
	s.probe.waiting, s.probe.answered = true, false
	s.probe.used.Store(true)
	s.w.post(&apipb.BluetoothGATTReadRequest{Address: uint64(probeAddress), Handle: probeHandle}, &apipb.SubscribeBluetoothConnectionsFreeRequest{})
}

// probeAnswered notes the error for the read, which only the subscriber gets.
func (s *session) probeAnswered() {
	s.probe.mu.Lock()
	s.probe.ours = true
	s.probe.mu.Unlock()
	s.proof()
}

// value notes a GATT value, which only the subscriber gets. While many values come, a congested proxy may drop the
// answer to the question three times in a row, so the question is not asked then.
func (s *session) value(m proto.Message) {
	switch m.(type) {
	case *apipb.BluetoothGATTNotifyDataResponse, *apipb.BluetoothGATTReadResponse:
		s.lastValue.Store(s.lastRead.Load())
	}
}

// proof notes something that only the subscriber gets.
func (s *session) proof() {
	s.probe.mu.Lock()
	s.probe.answered = true
	s.probe.mu.Unlock()
	s.releaseStrangers()
}

// judge takes a message 81, which ends a round of the probe or a question, or shows the other host at work. held says
// that a slot is in use for the question. It is called by the reader.
func (s *session) judge(slots ble.Slots, held bool) {
	foreign := len(s.p.foreign(slots)) > 0 && s.newestWins() && !s.info.Shared()
	s.probe.mu.Lock()
	stolen, back, free := false, false, false
	switch {
	case s.probe.waiting && s.probe.answered:
		s.probe.waiting = false
		back = s.probe.stolen
	case s.probe.stolen && s.probe.granting:
		s.probe.granting, s.probe.noRoom = false, noRoom(slots, held)
	case s.probe.stolen && s.probe.asked:
		s.probe.asked = false
		free = !held && !s.probe.noRoom && !noRoom(slots, held)
		if !free {
			s.probe.since = time.Now()
		}
		s.endQuestion()
	case s.probe.stolen:
		s.probe.waiting = false
		if foreign {
			s.probe.since = time.Now()
		}
	case s.probe.waiting && s.probe.counts:
		s.probe.counts = false
		s.probe.rounds++
		stolen = s.probe.rounds >= probeRounds
		s.probe.waiting = !stolen
	}
	s.probe.mu.Unlock()
	switch {
	case back:
		s.reinstated()
	case free:
		s.p.log.Info("No host has the proxy any more: taking it")
		s.probe.used.Store(true)
		s.subscribe()
	case stolen, foreign && s.deaf.Load():
		s.stolenFromUs(slots)
	}
}

// stolenFromUs shows that another host has the proxy, and gives up the links: that host gets their values now.
func (s *session) stolenFromUs(slots ble.Slots) {
	p, now := s.p, time.Now()
	s.probe.mu.Lock()
	if s.probe.stolen {
		s.probe.mu.Unlock()
		return
	}
	s.probe.stolen, s.probe.ours, s.probe.since, s.probe.retries = true, false, now, 0
	s.probe.waiting, s.probe.granting, s.probe.asked, s.probe.strangers = false, false, false, nil
	s.probe.mu.Unlock()
	s.probe.used.Store(true)
	s.deaf.Store(false)
	s.restoreMode() // nothing of ours is left behind
	s.wishAgain.Store(true)
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
		why = errDisplaced // we never had it
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

// displaced watches a proxy that another host has: it asks each minute whether that one is still there, where the proxy
// tells, and takes the proxy when its time has come. It returns when to look again, and when the next attempt to have
// the proxy is; false if it is not known to be lost.
func (s *session) displaced(now time.Time, v *vigil) (again, attempt time.Time, lost bool) {
	s.p.mu.Lock()
	t := s.p.thefts
	free := s.p.slots.Free > 0
	s.p.mu.Unlock()
	s.probe.mu.Lock()
	defer s.probe.mu.Unlock()
	if !s.probe.stolen {
		v.asking = false
		s.takeNow.Store(false) // we have it already
		return time.Time{}, time.Time{}, false
	}
	due := s.probe.since.Add(t.pause(s.p.cfg.OnConflict, s.probe.retries))
	if s.canAsk() && s.p.cfg.OnConflict == Yield {
		due = now.Add(askEvery) // we take it only if the answer says that nobody has it
	}
	if !s.newestWins() {
		due = v.nextAsk // the proxy grants a subscription only if it has none
	}
	if s.takeNow.Swap(false) {
		due = now
	}
	switch {
	case !now.Before(due):
		v.nextAsk = now.Add(askEvery)
		s.probe.retries++
		s.probe.since = now
		due = now.Add(t.pause(s.p.cfg.OnConflict, s.probe.retries))
		s.p.log.Info("Asking for the proxy again", "losses", t.count, "attempt", s.probe.retries)
		s.subscribe()
		if !s.newestWins() && s.info.Features.Has(ble.FeatureActiveConnections) {
			s.postProbe()
		}
	case v.asking:
		v.asking = false
		s.probe.asked = true
		s.w.post(&apipb.SubscribeBluetoothConnectionsFreeRequest{})
	case !now.Before(v.nextAsk) && s.canAsk() && free:
		v.nextAsk, v.asking = now.Add(askEvery), true
		s.probe.granting = true
		s.askForNobody()
		s.w.post(&apipb.SubscribeBluetoothConnectionsFreeRequest{})
		return now.Add(sweepWithin), v.nextAsk, true
	case !now.Before(v.nextAsk):
		v.nextAsk = now.Add(askEvery)
		s.w.post(&apipb.SubscribeBluetoothConnectionsFreeRequest{})
	}
	if s.tells() { // then to ask is an attempt
		due = earlier(due, v.nextAsk)
	}
	return earlier(now.Add(askEvery), v.nextAsk), due, true
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
	s.probe.answered, s.probe.rounds, s.probe.stolen, s.probe.granting, s.probe.asked = true, 0, false, false, false
	s.probe.mu.Unlock()
	s.probe.used.Store(false)
	if was {
		s.regained.Store(int64(time.Since(s.begun)))
		s.p.mu.Lock()
		s.p.thefts.since = time.Now()
		s.p.mu.Unlock()
		s.recovered(StateDisplaced)
		s.look()
	}
}

func (p *Proxy) everHeard() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hears
}

// nudge pings the device of a session that has been silent, when the device gave a sign of life elsewhere: if it has
// restarted, its answer is a reset. It does so at most once a second.
func (s *session) nudge() {
	now := time.Since(s.begun)
	last := s.nudged.Load()
	if now-time.Duration(s.lastRead.Load()) < time.Second || now-time.Duration(last) < time.Second || !s.nudged.CompareAndSwap(last, int64(now)) {
		return
	}
	s.w.post(&apipb.PingRequest{})
}
