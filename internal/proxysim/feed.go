package proxysim

import (
	"slices"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
)

// feed is what a proxy sends its one subscriber.
type feed struct {
	subscriber *apiserver.Session // nil: nobody
	raw        bool               // advertisements are sent as the radio had them
	batch      []ble.RawAdvert    // what was heard and not sent yet
	flushed    bool               // at the last tick
}

// tell runs fn with the subscriber, if there is one: only it hears of anything.
func (f *feed) tell(fn func(*apiserver.Session)) {
	if f.subscriber != nil {
		fn(f.subscriber)
	}
}

// subscribe makes s the subscriber.
func (f *feed) subscribe(s *apiserver.Session, raw bool) {
	f.subscriber, f.raw, f.batch = s, raw, f.batch[:0]
}

// unsubscribe takes the subscription from s, if it has it.
func (f *feed) unsubscribe(s *apiserver.Session) {
	if f.subscriber == s {
		f.subscriber, f.batch = nil, f.batch[:0]
	}
}

// dueAtTick reports whether a partial batch leaves at this tick. Firmware with alternate sends at no two ticks in a row.
func (f *feed) dueAtTick(alternate bool) bool {
	f.flushed = len(f.batch) > 0 && !(f.flushed && alternate)
	return f.flushed
}

// flush sends what was heard.
func (f *feed) flush() {
	if len(f.batch) == 0 {
		return
	}
	f.tell(func(s *apiserver.Session) {
		if f.raw {
			s.RawAdverts(f.batch)
			return
		}
		for _, a := range f.batch {
			s.DecodedAdvert(a)
		}
	})
	f.batch = f.batch[:0]
}

// forget drops what was heard of a peripheral but not sent yet.
func (f *feed) forget(a ble.Address) {
	f.batch = slices.DeleteFunc(f.batch, func(adv ble.RawAdvert) bool { return adv.Address == a })
}
