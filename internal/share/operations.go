package share

import (
	"context"
	"errors"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
)

// servicesSize is about how large one message 71 is.
const servicesSize = apiserver.ServicesSize

// jobTimeout bounds the requests that wait for the proxy beside a link; a client waits 30 s.
const jobTimeout = 30 * time.Second

// linked gives the host's link to a, or nil and answers that there is none.
func (h *host) linked(a ble.Address, handle uint16) *device {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	if d := h.devices[a]; d != nil && d.up {
		return d
	}
	h.s.GATTError(a, handle, apiserver.ErrorNotConnected)
	return nil
}

// GetServices implements apiserver.Backend. Unlike the firmware it may be asked for more than once.
func (p *Proxy) GetServices(s *apiserver.Session, a ble.Address) {
	h := p.host(s)
	d := h.linked(a, 0)
	if d == nil {
		return
	}
	short := s.ShortUUIDs()
	for _, batch := range apiserver.ServiceBatches(d.db.Services, servicesSize, short) {
		s.Services(a, batch, short)
	}
	s.ServicesDone(a)
}

// isDescriptor reports whether a handle is a descriptor's.
func isDescriptor(db *ble.Database, handle uint16) bool {
	for i := range db.Services {
		for j := range db.Services[i].Characteristics {
			for _, d := range db.Services[i].Characteristics[j].Descriptors {
				if d.Handle == handle {
					return true
				}
			}
		}
	}
	return false
}

// notifies reports whether the characteristic with that value handle is there and has something to subscribe to.
func notifies(db *ble.Database, valueHandle uint16) bool {
	for i := range db.Services {
		for j := range db.Services[i].Characteristics {
			if c := &db.Services[i].Characteristics[j]; c.ValueHandle == valueHandle {
				return c.Properties.Has(ble.PropNotify) || c.Properties.Has(ble.PropIndicate)
			}
		}
	}
	return false
}

// Read implements apiserver.Backend.
func (p *Proxy) Read(s *apiserver.Session, a ble.Address, handle uint16) {
	op := ble.Operation{Kind: ble.OpRead, Handle: handle}
	p.access(s, a, op, ble.OpReadDescriptor, func(value []byte) { s.ReadData(a, handle, value) })
}

// Write implements apiserver.Backend. A client writes the configuration of notifications itself; links.Links unites
// what clients want there. A write without response is answered, too.
func (p *Proxy) Write(s *apiserver.Session, a ble.Address, handle uint16, value []byte, response bool) {
	op := ble.Operation{Kind: ble.OpWriteCommand, Handle: handle, Value: value}
	if response {
		op.Kind = ble.OpWrite
	}
	p.access(s, a, op, ble.OpWriteDescriptor, func([]byte) { s.Written(a, handle) })
}

// access does op, of which the kind is ofDescriptor if the handle is a descriptor's, and has answer tell the client of
// its success. A failure is answered here.
func (p *Proxy) access(s *apiserver.Session, a ble.Address, op ble.Operation, ofDescriptor ble.OperationKind, answer func(value []byte)) {
	h := p.host(s)
	d := h.linked(a, op.Handle)
	if d == nil || !h.begin() {
		return
	}
	op.Table = d.db
	if isDescriptor(d.db, op.Handle) {
		op.Kind = ofDescriptor
	}
	h.links.Do(a, op, func(value []byte, err error) {
		h.end()
		if err != nil {
			s.GATTError(a, op.Handle, gattCode(err))
			return
		}
		answer(value)
	})
}

// Notify implements apiserver.Backend. As with the firmware it writes nothing to the peripheral: the client does that
// itself.
func (p *Proxy) Notify(s *apiserver.Session, a ble.Address, handle uint16, enable bool) {
	h := p.host(s)
	d := h.linked(a, handle)
	if d == nil {
		return
	}
	if !notifies(d.db, handle) { // nothing else is remembered
		s.GATTError(a, handle, int32(ble.ATTInvalidHandle))
		return
	}
	if !h.begin() {
		return
	}
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	if !enable {
		h.end()
		delete(d.notified, handle)
		h.links.Listen(a, handle, false, func(error) {})
		s.NotifySet(a, handle)
		return
	}
	d.notified[handle] = true
	h.links.Listen(a, handle, true, func(err error) {
		h.end()
		if err == nil {
			s.NotifySet(a, handle)
			return
		}
		h.p.mu.Lock()
		delete(d.notified, handle)
		h.p.mu.Unlock()
		s.GATTError(a, handle, gattCode(err))
	})
}

// Pair implements apiserver.Backend.
func (p *Proxy) Pair(s *apiserver.Session, a ble.Address) {
	h := p.host(s)
	if !h.begin() {
		return
	}
	h.links.Pair(a, func(err error) {
		h.end()
		var pe *ble.PairError
		switch {
		case err == nil:
			s.Paired(a, true, 0)
		case errors.As(err, &pe):
			s.Paired(a, false, pe.Reason)
		default:
			s.Paired(a, false, gattCode(err))
		}
	})
}

// Unpair implements apiserver.Backend. Firmware up to 2026.7 answers with message 85; clients take either.
func (p *Proxy) Unpair(s *apiserver.Session, a ble.Address) {
	h := p.host(s)
	h.job(func(ctx context.Context) error { return h.links.Unpair(ctx, a, p.id) },
		func(err error) { s.Unpaired(a, err == nil, gattCode(err)) })
}

// ClearCache implements apiserver.Backend. A host may ask for the link before it has the answer, as firmware takes
// requests in order: what is kept here is dropped at once.
func (p *Proxy) ClearCache(s *apiserver.Session, a ble.Address) {
	h := p.host(s)
	h.links.DropCache(a)
	cleared := false
	h.job(func(ctx context.Context) (err error) {
		cleared, err = h.links.ClearCache(ctx, a)
		return err
	}, func(err error) {
		s.CacheCleared(a, cleared && err == nil, gattCode(err))
	})
}

// SetConnectionParams implements apiserver.Backend.
func (p *Proxy) SetConnectionParams(s *apiserver.Session, a ble.Address, params ble.ConnectionParams) {
	h := p.host(s)
	h.job(func(ctx context.Context) error {
		return h.links.SetConnectionParams(ctx, a, params)
	}, func(err error) { s.ConnectionParamsSet(a, gattCode(err)) })
}

var errTooMany = errors.New("too many requests wait")

// job runs a request that waits, and answers it.
func (h *host) job(run func(context.Context) error, done func(error)) {
	h.p.mu.Lock()
	full := h.jobs >= maxJobs
	if !full {
		h.jobs++
	}
	h.p.mu.Unlock()
	if full {
		done(errTooMany)
		return
	}
	h.spawn(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, jobTimeout)
		defer cancel()
		err := run(ctx)
		h.p.mu.Lock()
		h.jobs--
		h.p.mu.Unlock()
		done(err)
	})
}

// coded is an error of the proxy's own stack.
type coded interface{ GATTCode() int32 }

// gattCode is what an error field says: 0 for none, the peripheral's ATT error, or the proxy's code.
func gattCode(err error) int32 {
	var (
		att ble.ATTError
		own coded
	)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &att):
		return int32(att)
	case errors.As(err, &own) && own.GATTCode() != 0:
		return own.GATTCode()
	case errors.Is(err, ble.ErrNotConnected):
		return apiserver.ErrorNotConnected
	}
	return codeGATT
}
