package apiconn

import "time"

// A proxy that floods us gets a share of one processor at most. A real one, which hears at most some thousand
// advertisements a second, needs a few per cent of that share. What exceeds it waits in the network, at the proxy's
// cost.
const (
	busyShare = 4                      // a quarter
	busyBurst = 200 * time.Millisecond // of work at once
	busyPause = 250 * time.Millisecond // at most, so that the end of a session waits no longer
)

// throttle meters how long a session works on what it read, and says how long it has to pause for that. It belongs to
// the goroutine that reads.
type throttle struct {
	since time.Time // the work began
	debt  time.Duration
	at    time.Time // when debt was last updated
}

// begin notes that there is something to work on.
func (t *throttle) begin(now time.Time) { t.since = now }

// end notes that the work is done and gives how long to pause.
func (t *throttle) end(now time.Time) time.Duration {
	if t.since.IsZero() {
		return 0
	}
	if !t.at.IsZero() {
		t.debt = max(0, t.debt-now.Sub(t.at)/busyShare)
	}
	t.at = now
	t.debt += now.Sub(t.since)
	t.since = time.Time{}
	if t.debt <= busyBurst {
		return 0
	}
	return min((t.debt-busyBurst)*busyShare, busyPause)
}
