package apiconn

import "time"

// A proxy that floods gets no more than a share of one processor: a real one, which hears at most some thousand advertisements
// a second, needs a few per cent of that. What is too much waits in the network, at the proxy's own cost.
const (
	busyShare = 4                      // one in so many
	busyBurst = 200 * time.Millisecond // of work at once
	busyPause = 250 * time.Millisecond // at most, so that the end of a session waits no longer
)

// share meters how long a session works on what it read.
type share struct {
	since time.Time // the work began
	debt  time.Duration
	at    time.Time // when debt was right
}

// begin notes that there is something to work on.
func (s *share) begin(now time.Time) { s.since = now }

// end notes that the work is done and gives how long to pause.
func (s *share) end(now time.Time) time.Duration {
	if s.since.IsZero() {
		return 0
	}
	if !s.at.IsZero() {
		s.debt = max(0, s.debt-now.Sub(s.at)/busyShare)
	}
	s.at = now
	s.debt += now.Sub(s.since)
	s.since = time.Time{}
	if s.debt <= busyBurst {
		return 0
	}
	return min((s.debt-busyBurst)*busyShare, busyPause)
}
