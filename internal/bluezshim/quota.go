package bluezshim

import (
	"sync/atomic"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

// Limits, for one bus name and for all together, on what costs memory, descriptors, or time for each advertisement.
// bluetoothd has none; the system bus lets a user have 256 connections. A real application needs a handful of each.
const (
	// Monitor applications of one name. A name usually has one.
	maxClientApps = 16
	// How many of them may not have listed their monitors yet: each is an unanswered call of ours, and the system bus
	// allows us 128.
	maxClientAsked = 4
	// Patterns, which each advertisement with new content is compared with: some 20 ns each.
	maxClientPatterns = 512
	maxAllPatterns    = 8192
	// UUIDs in discovery filters of one adapter, which each advertisement is compared with; a filter has at most 256.
	maxAllFilterUUIDs = 8192
	// Sockets of AcquireWrite and AcquireNotify: one descriptor and up to two goroutines each, of the 1,024 or more
	// descriptors that a process may have. A descriptor counts for the client that asked for it, even if that passed it
	// on.
	maxClientPipes = 64
	maxAllPipes    = 512
)

// errLimits is the bus's own error for an exceeded limit; bluetoothd has none.
func errLimits(message string) dbusError {
	return dbusError{"org.freedesktop.DBus.Error.LimitsExceeded", message}
}

// pipeQuota counts the pipes by the client that asked for them, and what waits in them. It belongs to the loop, but for
// bytes.
type pipeQuota struct {
	of    map[string]int
	all   int
	bytes atomic.Int64      // that wait in all pipes
	lost  func(ble.Address) // see Config.ValueLost
}

// refuses answers a call that would exceed the limit, and reports true.
func (q *pipeQuota) refuses(c *dbusobj.Call) bool {
	if q.of[c.Sender] < maxClientPipes && q.all < maxAllPipes {
		return false
	}
	errLimits("Too many characteristics are acquired").to(c)
	return true
}

func (q *pipeQuota) add(sender string) {
	if q.of == nil {
		q.of = map[string]int{}
	}
	q.of[sender]++
	q.all++
}

func (q *pipeQuota) remove(sender string) {
	q.all--
	q.of[sender]--
	if q.of[sender] <= 0 {
		delete(q.of, sender)
	}
}

// mayRegister reports whether a client, and all together, may have one more application.
func (t *monitorTable) mayRegister(sender string) bool {
	n, asked := 0, 0
	for _, app := range t.apps {
		if app.sender != sender {
			continue
		}
		n++
		if !app.complete {
			asked++
		}
	}
	return n < maxClientApps && asked < maxClientAsked && len(t.apps) < maxMonitorApps
}

// roomFor reports whether a client, and all together, may have that many more patterns.
func (t *monitorTable) roomFor(sender string, patterns int) bool {
	own, all := 0, 0
	for _, m := range t.byID {
		all += len(m.def.Patterns)
		if m.app.sender == sender {
			own += len(m.def.Patterns)
		}
	}
	return own+patterns <= maxClientPatterns && all+patterns <= maxAllPatterns
}

// roomFor reports whether a client's filter may have that many UUIDs, beside those of the others.
func (a *adapter) roomFor(sender string, uuids int) bool {
	for other, s := range a.sessions {
		if other != sender {
			uuids += len(s.filter.UUIDs)
		}
	}
	return uuids <= maxAllFilterUUIDs
}
