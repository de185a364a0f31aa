package bluezshim

import (
	"context"
	"fmt"
)

// MaxNotes is exported for tests, as is what follows.
const (
	MaxNotes          = maxNotes
	MaxNotifySessions = maxNotifySessions
	MaxRepeats        = maxRepeats
	MaxMonitorApps    = maxMonitorApps
	MaxClientAsked    = maxClientAsked
	MaxMonitors       = maxMonitors
	MaxShared         = maxShared
	MaxPipeQueue      = maxPipeQueue
	MaxClientApps     = maxClientApps
	MaxClientPatterns = maxClientPatterns
	MaxClientPipes    = maxClientPipes
	HoldTime          = holdTime
)

// ask runs f in the loop.
func ask[T any](s *Shim, f func() T) (v T) {
	if err := s.conn.Do(context.Background(), func() { v = f() }); err != nil {
		panic(err)
	}
	return v
}

// Peers is how many peers are known.
func (s *Shim) Peers() int { return ask(s, func() int { return len(s.peers) }) }

// Sessions is how many discovery sessions and filters an adapter keeps.
func (s *Shim) Sessions(adapter int) int {
	return ask(s, func() int { return len(s.adapters[adapter].sessions) })
}

// Clients is how many bus names are watched.
func (s *Shim) Clients() int { return ask(s, func() int { return len(s.clients) }) }

// FillSessions makes an adapter as full of sessions as it may be; in the loop.
func (s *Shim) FillSessions(adapter int) {
	for i := range maxSessions {
		s.adapters[adapter].sessions[fmt.Sprint("x", i)] = &session{}
	}
}

// FillMonitorApps does so with monitor applications.
func (s *Shim) FillMonitorApps() {
	for range maxMonitorApps {
		s.monitors.apps = append(s.monitors.apps, &monitorApp{shim: s, adapter: s.adapters[0]})
	}
}

// FillAgents does so with agents.
func (s *Shim) FillAgents() {
	for range maxAgents {
		s.agents.list = append(s.agents.list, &agent{shim: s, sender: "x.y", path: "/x"})
	}
}

// Names is how many names are remembered of devices that are gone.
func (s *Shim) Names() int { return ask(s, func() int { return len(s.names) }) }

// Piped is how many bytes wait in pipes, and how many pipes there are.
func (s *Shim) Piped() (bytes, pipes int) {
	return int(s.pipes.bytes.Load()), ask(s, func() int { return s.pipes.all })
}
