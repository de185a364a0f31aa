package gatt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lapse"
)

// maxRounds is how often one link is replaced while its database is not known.
const maxRounds = 3

// minDiscovery is the least time that discovery is given.
const minDiscovery = 5 * time.Second

// resolve makes the database of l known and arms subscriptions. A proxy streams a
// database once per link, so that where it cannot be used the link is replaced, which nobody is
// told. It returns the link that is in use at the end; on error that is s.link.
func (s *session) resolve(ctx, lctx context.Context, l *link, fresh bool) (*link, context.Context, *ble.Database, error) {
	for round := 1; ; round++ {
		db, err := s.databaseInTime(lctx, l, round == maxRounds)
		if err == nil {
			err = s.settleOn(lctx, l, db)
			if err == nil {
				s.doubt = nil
				return l, lctx, db, nil
			}
		}
		if errors.Is(err, ble.ErrNotConnected) {
			s.awaitLoss(lctx, l, err)
		}
		if round == maxRounds || ctx.Err() != nil || !s.worthReplacing(l, err) {
			return l, lctx, nil, err
		}
		s.m.log.Info("connecting again to learn the GATT database", "device", s.addr, "proxy", l.ps.name, "why", err)
		fresh = fresh || errors.Is(err, errAgain) || errors.Is(err, ble.ErrTimeout)
		nl, nctx, rerr := s.replace(ctx, l, fresh, errors.Is(err, ble.ErrTimeout))
		if rerr != nil {
			return nil, lctx, nil, fmt.Errorf("cannot connect again: %w", rerr)
		}
		l, lctx = nl, nctx
	}
}

// worthReplacing: a list that was cut short, no answer to the request for it, or a proxy
// that went. A link that the peripheral ended is over.
func (s *session) worthReplacing(l *link, err error) bool {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if l.lost {
		return l.proxyGone
	}
	return errors.Is(err, errAgain) || errors.Is(err, ble.ErrTimeout)
}

// databaseInTime is database within as long as a proxy that works may take: one that does not answer is not
// waited for until its session ends.
func (s *session) databaseInTime(ctx context.Context, l *link, final bool) (*ble.Database, error) {
	dctx, cancel := lapse.WithTimeoutCause(ctx, max(s.m.cfg.PerPath, minDiscovery), errTooLong)
	defer cancel()
	db, err := s.database(dctx, l, final)
	if err != nil && dctx.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", err, ble.ErrTimeout)
	}
	return db, err
}

// settleOn makes db the database of l and arms what is subscribed.
func (s *session) settleOn(ctx context.Context, l *link, db *ble.Database) error {
	s.forgetMoved(db)
	s.m.mu.Lock()
	l.db = db
	s.m.mu.Unlock()
	if err := s.arm(ctx, l, db); err != nil {
		return err
	}
	if l.evidence != byBond {
		s.afterwards(l, db)
		return nil
	}
	err := s.armServiceChanged(ctx, l, db)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx) // which says nothing of the database
	case errors.Is(err, ble.ErrNotConnected):
		return err
	case l.serviceChanged == 0 || !l.armed[l.serviceChanged].on():
		s.m.forgetDatabase(s.addr)
		return fmt.Errorf("the characteristic Service Changed is not where it was: %w", errAgain)
	}
	s.noteArmed(l)
	return nil
}

// afterwards does what nobody has to wait for once the services are known: it enables Service Changed, and then reads
// the Database Hash of what was listed. In this order a change in between is not missed.
func (s *session) afterwards(l *link, db *ble.Database) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.queue.push(&op{ours: true, run: func(ctx context.Context, now *link) error {
		if now != l {
			return nil
		}
		_ = s.armServiceChanged(ctx, l, db) // logged; noteArmed tells whether it is
		s.noteArmed(l)
		if l.cached {
			return nil
		}
		hash, err := s.readHash(ctx, l, db)
		if err != nil || len(hash) == 0 {
			return err
		}
		s.m.mu.Lock()
		stale := s.change.pending
		s.m.mu.Unlock()
		if !stale {
			s.m.updateRecord(s.addr, func(r *Record) {
				if r.Database == db {
					r.Hash = hash
				}
			})
		}
		return nil
	}})
}

// replace ends l and dials anew. silent says that the proxy does not answer: the others are tried first.
func (s *session) replace(ctx context.Context, l *link, fresh, silent bool) (*link, context.Context, error) {
	last := ""
	if silent {
		last = l.ps.id
		s.dropWithin(l, callOffWait)
	} else {
		s.flush(ctx, l)
		s.drop(l)
	}
	dctx, cancel := lapse.WithTimeoutCause(ctx, s.m.cfg.Timeout, errTooLong)
	defer cancel()
	return s.dial(ctx, dctx, fresh, last)
}

// database gives the database of l: the cached one, if l was made with it and the evidence holds, or the list of the
// proxy.
func (s *session) database(ctx context.Context, l *link, final bool) (*ble.Database, error) {
	rec := s.m.record(s.addr)
	if l.cached {
		return s.cachedDatabase(ctx, l, &rec)
	}
	services, err := l.ps.proxy.Services(ctx, s.addr)
	if err != nil {
		return nil, fmt.Errorf("cannot discover services: %w", err)
	}
	db, dropped := buildDatabase(services)
	if len(dropped) > 0 {
		s.m.log.Warn("the peripheral's database is malformed", "device", s.addr, "proxy", l.ps.name, "dropped", dropped)
	}
	db, complete, err := s.complete(l, db, &rec, final)
	if err != nil {
		return nil, err
	}
	if err := s.readExtended(ctx, l, db); err != nil {
		return nil, err
	}
	s.m.learned(s.addr, db, complete)
	return db, nil
}

// cachedDatabase is the database of a link that was made without listing the services.
func (s *session) cachedDatabase(ctx context.Context, l *link, rec *Record) (*ble.Database, error) {
	if rec.Database == nil || !rec.Complete {
		return nil, fmt.Errorf("the cached database was dropped: %w", errAgain)
	}
	if l.evidence == byHash {
		hash, err := s.readHash(ctx, l, rec.Database)
		if err != nil {
			return nil, err
		}
		if len(hash) == 0 || !bytes.Equal(hash, rec.Hash) {
			s.m.forgetDatabase(s.addr)
			return nil, fmt.Errorf("the database hash changed: %w", errAgain)
		}
	}
	return rec.Database, nil
}

// complete judges a streamed database, and gives the one to use. An error means that it is to be streamed again;
// done, that it may be cached for good: it agrees with another discovery, or comes from firmware that does not lose
// any.
func (s *session) complete(l *link, db *ble.Database, rec *Record, final bool) (use *ble.Database, done bool, err error) {
	version, prior := l.ps.proxy.Version(), rec.Database
	why := suspicion(db, prior, s.m.cfg.Expected(s.addr), version)
	confirmed := sameDatabase(db, s.doubt) || sameDatabase(db, prior)
	switch {
	case len(db.Services) == 0 && final:
		return nil, false, errors.New("the peripheral's database is empty")
	case len(db.Services) == 0:
		return nil, false, fmt.Errorf("%s: %w", why, errAgain)
	case confirmed:
		return db, true, nil
	case why == "" && !truncates(version):
		return db, true, nil
	case why == "" && wireSize(db) < oneMessage && (s.doubt == nil || attributes(s.doubt) <= attributes(db)):
		return db, false, nil
	case why == "":
		why = "its end may be missing"
	}
	if s.doubt != nil && attributes(s.doubt) > attributes(db) {
		db = s.doubt // what is lost is missing; nothing is ever added
	} else if s.doubt != nil && !truncates(version) {
		final = true // asked twice
	}
	if !final {
		s.doubt = db
		return nil, false, fmt.Errorf("the list of services looks cut short, %s: %w", why, errAgain)
	}
	s.m.log.Warn("the list of services looks cut short; using it all the same", "device", s.addr,
		"proxy", l.ps.name, "why", why)
	return db, false, nil
}

// readHash reads the Database Hash, nil if there is none or it cannot be read.
func (s *session) readHash(ctx context.Context, l *link, db *ble.Database) ([]byte, error) {
	c := db.Find(ble.UUIDDatabaseHash)
	if c == nil {
		return nil, nil
	}
	hash, err := l.ps.proxy.Do(ctx, s.addr, ble.Operation{Kind: ble.OpRead, Handle: c.ValueHandle})
	var att ble.ATTError
	if errors.As(err, &att) {
		s.m.log.Debug("cannot read the database hash", "device", s.addr, "error", err)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the database hash: %w", err)
	}
	return hash[:min(len(hash), 64)], nil
}

// readExtended fills in the extended properties of a database that nobody else has seen yet; what cannot be
// read stays 0.
func (s *session) readExtended(ctx context.Context, l *link, db *ble.Database) error {
	for i := range db.Services {
		for j := range db.Services[i].Characteristics {
			c := &db.Services[i].Characteristics[j]
			d := c.Descriptor(ble.UUIDExtendedProps)
			if d == 0 || !c.Properties.Has(ble.PropExtended) {
				continue
			}
			value, err := l.ps.proxy.Do(ctx, s.addr, ble.Operation{Kind: ble.OpReadDescriptor, Handle: d})
			var att ble.ATTError
			switch {
			case errors.As(err, &att):
			case err != nil:
				return fmt.Errorf("cannot read extended properties: %w", err)
			case len(value) > 0:
				c.Extended = ble.ExtendedProperties(value[0])
			}
		}
	}
	return nil
}

// rediscover honours Service Changed: unless the Database Hash tells that nothing changed, the cached databases are
// dropped and the link is replaced, since a proxy streams a database once per link.
func (s *session) rediscover(ctx, lctx context.Context, l *link, old *ble.Database) (*link, context.Context, *ble.Database, error) {
	m := s.m
	same, err := s.sameHash(lctx, l, old)
	if err != nil {
		return nil, nil, nil, err
	}
	if same {
		s.rediscovered()
		return l, lctx, old, nil
	}
	m.log.Info("the peripheral's GATT database changed; connecting again to learn it", "device", s.addr, "proxy", l.ps.name)
	m.forgetDatabase(s.addr)
	l, lctx, err = s.replace(ctx, l, true, false)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cannot connect again: %w", err)
	}
	l, lctx, db, err := s.resolve(ctx, lctx, l, true)
	if err != nil {
		return nil, nil, nil, err
	}
	s.askMTU(lctx, l)
	s.rediscovered()
	if !sameDatabase(old, db) {
		s.tell(db, func() { m.cfg.Events.DatabaseChanged(s.addr, db) })
	}
	return l, lctx, db, nil
}

// sameHash reports whether the Database Hash can be read and is that of the database.
func (s *session) sameHash(ctx context.Context, l *link, db *ble.Database) (bool, error) {
	rec := s.m.record(s.addr)
	if rec.Database != db && !sameDatabase(rec.Database, db) || len(rec.Hash) == 0 {
		return false, nil
	}
	hash, err := s.readHash(ctx, l, db)
	if errors.Is(err, ble.ErrTimeout) {
		return false, nil
	}
	return bytes.Equal(hash, rec.Hash), err
}
