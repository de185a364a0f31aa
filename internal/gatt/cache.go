package gatt

import (
	"context"
	"errors"
	"fmt"

	"bluez-esphome/internal/ble"
)

// forgetDatabase drops the cached database of a, and what belongs to it.
func (m *Manager) forgetDatabase(a ble.Address) {
	m.updateRecord(a, func(r *Record) { r.Database, r.Complete, r.Hash, r.Name, r.Advertised = nil, false, nil, "", nil })
}

// clearAt has a proxy drop its cached database of a. Without the feature it does nothing.
func (m *Manager) clearAt(ctx context.Context, ps *proxyState, a ble.Address) error {
	if !ps.proxy.Online() || !ps.proxy.Features().Has(ble.FeatureCacheClearing) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, clearWait)
	defer cancel()
	return ps.proxy.ClearCache(ctx, a)
}

// ClearCache drops the cached database of a here and at the proxies that had a link to it. It reports false if one of
// them is offline; that of the next link clears its cache then. A proxy without CACHE_CLEARING is warned of once and
// does not count as a failure: as with ESPHome's reference client only the database here is dropped then.
func (m *Manager) ClearCache(ctx context.Context, a ble.Address) (bool, error) {
	rec := m.record(a)
	m.forgetDatabase(a)
	var targets []*proxyState
	missed := false
	m.mu.Lock()
	for _, ps := range m.proxies {
		_, had := rec.MTU[ps.id]
		switch {
		case !had && ps.links[a] == nil && rec.Last != ps.id:
		case ps.gone:
			missed = true
		default:
			targets = append(targets, ps)
		}
	}
	m.mu.Unlock()
	if missed {
		m.updateRecord(a, func(r *Record) { r.Stale = true })
	}
	var errs []error
	for _, ps := range targets {
		if !ps.proxy.Features().Has(ble.FeatureCacheClearing) {
			m.warnOnce(ps, "cache", "the proxy cannot clear its cache; only the one here was cleared; upgrade ESPHome")
			continue
		}
		if err := m.clearAt(ctx, ps, a); err != nil {
			errs = append(errs, fmt.Errorf("cannot clear the cache of proxy %s: %w", ps.name, err))
		}
	}
	return len(errs) == 0 && !missed, errors.Join(errs...)
}

// warnOnce logs a warning once per proxy.
func (m *Manager) warnOnce(ps *proxyState, key, msg string) {
	version := ps.proxy.Version()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !ps.warned[key] {
		ps.warned[key] = true
		m.log.Warn(msg, "proxy", ps.name, "version", version)
	}
}

// SetConnectionParams asks for new parameters of the link that is up; an error may wrap ble.ErrInvalid. A proxy without
// the feature is warned of, which is no failure.
func (m *Manager) SetConnectionParams(ctx context.Context, a ble.Address, params ble.ConnectionParams) error {
	return m.setConnectionParams(ctx, nil, a, params)
}

func (m *Manager) setConnectionParams(ctx context.Context, party *Owner, a ble.Address, params ble.ConnectionParams) error {
	if err := params.Check(); err != nil {
		return fmt.Errorf("cannot set the connection parameters of %s: %w", a, err)
	}
	res := make(chan error, 1)
	m.enqueue(a, &op{
		party: party,
		ctx:   ctx,
		run: func(ctx context.Context, l *link) error {
			if !l.ps.proxy.Features().Has(ble.FeatureConnectionParams) {
				m.warnOnce(l.ps, "params", "setting connection parameters is not available with the proxy's ESPHome version; upgrade it")
				return nil
			}
			return l.ps.proxy.SetConnectionParams(ctx, a, params)
		},
		done: func(err error) { res <- err },
	})
	select {
	case err := <-res:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
