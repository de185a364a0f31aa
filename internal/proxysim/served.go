package proxysim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

// answerTime is how long a server may take for one answer: then the transaction has timed out and the link is of no use any more
// (Bluetooth Core, Vol 3 Part F, 3.3.3).
const answerTime = 30 * time.Second

// An Event is what a server of a peripheral's GATT is told. Which fields count depends on Event:
//
//	connected     Proxy and MTU (in bytes) of the link
//	disconnected
//	subscribed    Handle of a characteristic's value, Notify and Indicate as they are configured now
//	read          ID and Handle; waits for an answer
//	write         Handle and Value, absent if empty; ID, if there is one, waits for an answer
//	confirmed     Handle, whose indication has arrived
type Event struct {
	Event    string   `json:"event"`
	ID       uint64   `json:"id,omitempty"`
	Proxy    string   `json:"proxy,omitempty"`
	MTU      uint16   `json:"mtu,omitempty"`
	Handle   uint16   `json:"handle,omitempty"`
	Value    HexBytes `json:"value,omitempty"`
	Notify   bool     `json:"notify,omitempty"`
	Indicate bool     `json:"indicate,omitempty"`
}

// Server is another process that answers for the characteristics of one peripheral. Its methods are goroutine-safe; after Close they
// return ErrNotServed.
type Server struct {
	p    *peripheral
	send func(Event) bool

	// The rest is under the Air's mutex.
	last    uint64 // ID
	asked   *asked // nil: nothing waits for an answer; ATT has one request at a time
	confirm *event // nil: no indication waits for its confirmation
}

// asked is the request that waits for an answer.
type asked struct {
	id      uint64
	timeout *event
	done    func(value []byte, e ble.ATTError)
}

// ErrNotServed is the error of a Server that was closed.
var ErrNotServed = errors.New("the peripheral is not served any more")

// Serve has send told of what happens to the characteristics of a peripheral, and their reads and writes wait for answers, until Close. What
// the table forbids is still refused by it; descriptors stay the table's. A link that is up is told at once. send is called under a lock:
// it must not wait nor call the Air; if it reports false, it is not called again and reads and writes fail. There is one server at a time.
func (a *Air) Serve(id string, send func(Event) bool) (*Server, error) {
	var s *Server
	err := a.with(id, func(p *peripheral) error {
		if p.server != nil {
			return fmt.Errorf("cannot serve %q: another connection does", id)
		}
		s = &Server{p: p, send: send}
		p.server = s
		if l := p.link; l != nil {
			s.connected(l)
			for _, h := range l.subscriptions() {
				s.subscribed(l, h)
			}
		}
		return nil
	})
	return s, err
}

// Close ends the serving: what waits for an answer fails, and the table's values answer again. A second Close does nothing.
func (s *Server) Close() {
	a := s.p.air
	a.sched.mu.Lock()
	defer a.sched.mu.Unlock()
	s.end()
}

func (s *Server) end() {
	if s.p.server != s {
		return
	}
	s.p.server = nil
	s.stop(ble.ATTUnlikely)
}

// stop ends what is under way; a request gets e, unless the link is gone.
func (s *Server) stop(e ble.ATTError) {
	s.p.air.sched.stop(s.confirm)
	s.confirm = nil
	if q := s.take(); q != nil {
		q.done(nil, e)
	}
}

// tell sends an event; a server that takes none is none.
func (s *Server) tell(e Event) {
	if s.p.server == s && !s.send(e) {
		s.end()
	}
}

func (s *Server) connected(l *link) {
	s.tell(Event{Event: "connected", Proxy: l.proxyName, MTU: l.mtu})
}

func (s *Server) disconnected() {
	if s.p.server == s {
		s.p.air.sched.stop(s.confirm)
		s.confirm = nil
		s.take() // nobody waits for it
	}
	s.tell(Event{Event: "disconnected"})
}

// subscribed tells what is configured for the characteristic with that value handle.
func (s *Server) subscribed(l *link, handle uint16) {
	for _, c := range l.p.table.cccds {
		if c.cccdOf == handle {
			v := l.cccd[c.handle]
			s.tell(Event{Event: "subscribed", Handle: handle, Notify: v&cccdNotify != 0, Indicate: v&cccdIndicate != 0})
		}
	}
}

// ask sends a request and calls done with its answer, unless the link ends before.
func (s *Server) ask(e Event, done func(value []byte, e ble.ATTError)) {
	s.last++
	e.ID = s.last
	s.asked = &asked{id: e.ID, done: done, timeout: s.p.air.sched.after(answerTime, func() {
		if l := s.p.link; l != nil {
			l.host.lost(ReasonTimeout)
		}
	})}
	s.tell(e)
}

// take is what waits for an answer, which does not wait any more; nil for nothing.
func (s *Server) take() *asked {
	q := s.asked
	if q != nil {
		s.p.air.sched.stop(q.timeout)
		s.asked = nil
	}
	return q
}

// Answer answers the request of that ID with a value, which is that of a read, or with an ATT error other than 0. What is not waited for
// any more is an error.
func (s *Server) Answer(id uint64, value []byte, e ble.ATTError) error {
	a := s.p.air
	a.sched.mu.Lock()
	defer a.sched.mu.Unlock()
	switch {
	case s.p.server != s:
		return ErrNotServed
	case s.asked == nil || s.asked.id != id:
		return fmt.Errorf("cannot answer request %d: it does not wait for an answer", id)
	case len(value) > ble.MaxAttribute:
		return fmt.Errorf("cannot answer request %d: %d bytes are more than %d", id, len(value), ble.MaxAttribute)
	}
	s.take().done(slices.Clone(value), e)
	return nil
}

// Push notifies or indicates a value to the central, which must have subscribed that. An indication is confirmed by an event; until then
// there is no other.
func (s *Server) Push(handle uint16, value []byte, indicate bool) error {
	a := s.p.air
	a.sched.mu.Lock()
	defer a.sched.mu.Unlock()
	bit := uint16(cccdNotify)
	if indicate {
		bit = cccdIndicate
	}
	l := s.p.link
	switch {
	case s.p.server != s:
		return ErrNotServed
	case indicate && s.confirm != nil:
		return fmt.Errorf("cannot indicate handle %d: an indication waits for its confirmation", handle)
	case l == nil || !l.notify(handle, slices.Clone(value), bit):
		return fmt.Errorf("cannot notify handle %d: nobody has subscribed that", handle)
	}
	if indicate {
		s.confirm = a.sched.after(l.pace(attRoundTrip), func() {
			s.confirm = nil
			s.tell(Event{Event: "confirmed", Handle: handle})
		})
	}
	return nil
}
