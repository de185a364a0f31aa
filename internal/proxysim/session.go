package proxysim

import (
	"encoding/json"
	"errors"
	"net"
	"sync"
)

// maxEvents is how many events may wait for a connection that serves; one that leaves more unread is closed.
const maxEvents = 1024

// session is one connection of the control protocol.
type session struct {
	id     string
	conn   net.Conn
	server *Server // nil: it does not serve

	mu     sync.Mutex // of what is written
	events chan Event
}

// serve makes the connection the peripheral's server.
func (s *session) serve(a *Air) error {
	if s.server != nil {
		return errors.New("cannot serve: this connection does already")
	}
	server, err := a.Serve(s.id, s.tell)
	if err != nil {
		return err
	}
	s.server = server
	return nil
}

// tell hands an event over without waiting.
func (s *session) tell(e Event) bool {
	select {
	case s.events <- e:
		return true
	default:
		_ = s.conn.Close()
		return false
	}
}

// pass writes the events until there are no more.
func (s *session) pass() {
	for e := range s.events {
		s.answer(func() any { return e })
	}
}

// answer writes what do gives, and reports whether that was possible. No event is written while do runs, so that the reply to a request
// comes before the events that it causes.
func (s *session) answer(do func() any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if json.NewEncoder(s.conn).Encode(do()) != nil {
		_ = s.conn.Close()
		return false
	}
	return true
}

// close ends the serving, after which nothing is told any more.
func (s *session) close() {
	if s.server != nil {
		s.server.Close()
	}
	close(s.events)
}
