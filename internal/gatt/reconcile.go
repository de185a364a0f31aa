package gatt

import (
	"context"
	"time"

	"bluez-esphome/internal/ble"
)

// How often the release of a slot that is not ours is asked for again.
const (
	ghostRetryMin = 10 * time.Second
	ghostRetryMax = time.Minute
)

// ghostLocked has the proxy end a link that nobody here asked for, unless it may be another host's.
func (m *Manager) ghostLocked(ps *proxyState, a ble.Address, why string) {
	if ps.hosts == HostsNone {
		m.releaseGhostLocked(ps, a, why)
		return
	}
	if ps.hosts == HostsApart && ps.holds[a] == nil && !ps.gone && !m.closed && !ps.foreign[a] && len(ps.foreign) < maxAllocated {
		ps.foreign[a] = true
		m.log.Info("a connection slot is in use by another host", "proxy", ps.name, "device", a)
	}
}

// releaseGhostLocked has the proxy end a link that nobody here asked for, until message 81 no longer shows it or we want
// it ourselves. A daemon that shares the proxy is asked once: it ends our part in the link, and shows that of others.
func (m *Manager) releaseGhostLocked(ps *proxyState, a ble.Address, why string) {
	if ps.holds[a] != nil {
		return // it is being called off; if that fails, the hold's timer comes here
	}
	if ps.gone || m.closed || ps.ghosts[a] != nil || len(ps.ghosts) >= maxAllocated {
		return
	}
	m.log.Info("releasing a connection that nobody here wants", "proxy", ps.name, "device", a, "reason", why)
	ctx, cancel := m.derive()
	ps.ghosts[a] = cancel
	m.spawnLocked(func(context.Context) {
		m.exorcise(ctx, ps, a)
		cancel(nil)
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(ps.ghosts, a)
		m.changedLocked()
		if ps.stale(a) {
			m.ghostLocked(ps, a, why) // it was stopped, and things changed again
		}
	})
}

// exorcise disconnects a until its slot is free.
func (m *Manager) exorcise(ctx context.Context, ps *proxyState, a ble.Address) {
	for pause := ghostRetryMin; ; pause = min(2*pause, ghostRetryMax) {
		dctx, end := context.WithTimeout(ctx, disconnectWait)
		err := ps.proxy.Disconnect(dctx, a)
		end()
		if err != nil {
			m.log.Debug("cannot release a stale connection", "proxy", ps.name, "device", a, "error", err)
		}
		if !m.awaitRelease(ctx, ps, a, pause) {
			return
		}
		if pause == ghostRetryMax {
			m.warnOnce(ps, "stuck", "a connection slot of the proxy is not released; if it stays so, restart the proxy")
		}
	}
}

// awaitRelease waits for the slot of a to be free. It reports true when after d it is still
// to be released.
func (m *Manager) awaitRelease(ctx context.Context, ps *proxyState, a ble.Address, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		m.mu.Lock()
		over := m.closed || ps.gone || ps.hosts != HostsNone || !ps.stale(a)
		changed := m.changed
		m.mu.Unlock()
		if over {
			return false
		}
		select {
		case <-changed:
		case <-t.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}
