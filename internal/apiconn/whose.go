package apiconn

import (
	"errors"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// Whose a proxy is can be found out without taking it, depending on its ESPHome (esphome-contract.md §11.1-2):
//
//	up to 2026.6  a subscription is granted only if nobody has it: subscribe and see. The proof, a message 126 or the error
//	              for a read, comes before the answer to a question for the slots that was sent behind.
//	2026.7        the newest subscription wins, and nothing tells whom it was taken from.
//	from 2026.8   ask for a slot for a device that is not there. The proxy frees it within 100 ms if nobody is subscribed.
//	              Where no slot is free there is none to be freed: some host has them all.
const (
	// sweepWithin is how long a proxy without a subscriber may take to free a slot: it looks every 100 ms.
	sweepWithin = 250 * time.Millisecond
	// askEvery is how often a host that is displaced asks whether the proxy is free.
	askEvery = time.Minute
	// ghostFor is how long a proxy may take our own last session for alive: it pings every 60 s and gives up after 150 s.
	ghostFor = 3 * time.Minute
)

// newestWins: before ESPHome 2026.7 a second subscription was ignored.
func (s *session) newestWins() bool { return versionAtLeast(s.info.Version, 2026, 7) }

// canAsk reports whether the question for a slot tells if the proxy has a subscriber. Firmware up to 2026.7 would never
// free the slot.
func (s *session) canAsk() bool {
	v, known := ble.ParseVersion(s.info.Version)
	return known && v.AtLeast(2026, 8) && s.info.Features.Has(ble.FeatureActiveConnections)
}

// tells reports whether the proxy tells if another host has it.
func (s *session) tells() bool {
	v, known := ble.ParseVersion(s.info.Version)
	return known && v.TellsHost(s.info.Features.Has(ble.FeatureActiveConnections))
}

// askForNobody asks for a slot for a device that does not exist.
func (s *session) askForNobody() {
	s.w.post(deviceRequest(probeAddress, apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE))
}

// endQuestion frees that slot, if the proxy has not.
func (s *session) endQuestion() {
	s.w.post(deviceRequest(probeAddress, apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_DISCONNECT))
}

// hasSubscriber asks during the bring-up whether another host has the proxy. The other host does not notice.
func (s *session) hasSubscriber() (bool, error) {
	s.askForNobody()
	first, granted, err := s.askSlots()
	if err != nil || !first.Known {
		s.endQuestion()
		return false, err
	}
	s.busy.end(time.Now())    // the wait is no work
	<-time.After(sweepWithin) // what comes meanwhile waits in the socket
	slots, held, err := s.askSlots()
	s.endQuestion()
	return held || noRoom(first, granted) || noRoom(slots, held), err
}

// noRoom reports whether the proxy had no slot for the question: another host may have taken the last one since it was
// seen free.
func noRoom(slots ble.Slots, held bool) bool { return slots.Known && slots.Free == 0 && !held }

// askSlots asks for the slots during the bring-up, and whether one is held for the question. The slots are not Known if
// the proxy does not answer.
func (s *session) askSlots() (slots ble.Slots, held bool, err error) {
	s.w.post(&apipb.SubscribeBluetoothConnectionsFreeRequest{})
	m, err := s.await(apiwire.BluetoothConnectionsFreeResponse, simpleTimeout)
	var silent *NoAnswerError
	if errors.As(err, &silent) {
		return ble.Slots{}, false, nil // the numbers come with the next change
	}
	if err != nil {
		return ble.Slots{}, false, err
	}
	slots, held = slotsFrom(m.(*apipb.BluetoothConnectionsFreeResponse))
	return slots, held, nil
}

// ghost reports whether the subscriber of the proxy may be our own last session, whose end the proxy has not noticed.
func (p *Proxy) ghost() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.wasOurs.IsZero() && time.Since(p.wasOurs) < ghostFor
}

// Retry makes a proxy that is displaced or offline be tried now. Under Yield, it is taken only if no other host has it.
func (p *Proxy) Retry() { p.now(false) }

// Take takes the proxy from the host that has it, now or with the next session. After that the policy holds again.
func (p *Proxy) Take() { p.now(true) }

func (p *Proxy) now(take bool) {
	s := p.current.Load()
	p.mu.Lock()
	if take {
		p.thefts.count = 0
		p.force = s == nil
	}
	p.mu.Unlock()
	if s != nil {
		if take {
			s.takeNow.Store(true)
		}
		s.look()
		return
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// look wakes the watch.
func (s *session) look() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// forced reports whether somebody asked to take the proxy from others.
func (p *Proxy) forced() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.force
}

// releaseStrangers frees slots that we never asked for, once it is known that no other host has the proxy: they are
// stuck.
func (s *session) releaseStrangers() {
	s.probe.mu.Lock()
	strangers := s.probe.strangers
	s.probe.strangers = nil
	s.probe.mu.Unlock()
	if len(strangers) == 0 {
		return
	}
	s.p.log.Warn("The proxy holds slots for devices that no host can be connected to: asking it to release them; restart it if they stay in use",
		"devices", strangers)
	for _, a := range strangers {
		s.w.post(deviceRequest(a, apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_DISCONNECT))
	}
	s.w.post(&apipb.SubscribeBluetoothConnectionsFreeRequest{})
}

// proveNow sends, behind a subscription, a read that only the subscriber gets an answer to, and a request that every
// client gets an answer to. If only the latter is answered, another host has the proxy. Up to ESPHome 2026.6 a
// subscription does not take the proxy from it.
func (s *session) proveNow() {
	if s.newestWins() || !s.info.Features.Has(ble.FeatureActiveConnections) {
		return
	}
	s.askWhose()
	s.probe.mu.Lock()
	s.probe.rounds, s.probe.counts = probeRounds-1, true // answers come in order, so one answer without the other is enough
	s.probe.mu.Unlock()
}
