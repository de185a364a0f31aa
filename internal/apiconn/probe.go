package apiconn

import (
	"context"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// A Probed is what a device tells a client that does not subscribe.
type Probed struct {
	Info
	// Slots are its connection slots. They are not Known for a device that has none or does not tell them. None of them is
	// ours: an allocated one is in use by another host.
	Slots ble.Slots
	Host  Host
}

// Host says whether another host has a proxy.
type Host uint8

// Answers to that question. It is unknown if nobody asked, and with ESPHome up to 2026.7, which only tells which
// connections there are.
const (
	HostUnknown Host = iota
	HostNone
	HostOther
)

// Probe connects to the proxy of cfg once, asks what it is and takes leave. It subscribes to nothing, so whoever
// uses the proxy keeps it. With whose, a proxy that can tell is also asked whether another host has it. Handler and
// OnConflict are not used; the errors are those of a Proxy's attempts.
func Probe(ctx context.Context, cfg Config, whose bool) (Probed, error) {
	cfg.Handler, cfg.OnConflict = nobody{}, Retake // a probe is in nobody's way
	p, err := New(cfg)
	if err != nil {
		return Probed{}, err
	}
	conn, err := p.dial(ctx)
	if err != nil {
		return Probed{}, err
	}
	_ = p.begin() // a new Proxy can be begun
	defer close(p.ended)
	s := newSession(p, conn)
	if err := s.open(ctx); err != nil {
		return Probed{}, err
	}
	found := Probed{Info: s.info, Slots: s.first}
	var asked error
	switch {
	case s.info.Shared(): // whoever has it, it is to be had
	case s.first.Known && s.first.Free < s.first.Limit:
		found.Host = HostOther // it is connected to something
	case whose && s.canAsk() && s.first.Known:
		var held bool
		held, asked = s.hasSubscriber()
		if held {
			found.Host = HostOther
		} else if asked == nil {
			found.Host = HostNone
		}
	}
	s.w.post(&apipb.DisconnectRequest{})
	_, _ = s.await(apiwire.DisconnectResponse, leaveTimeout) // the session ends in any case
	s.unhook()
	s.end(ErrStopped)
	return found, asked
}

// nobody is the Handler of a session that is never run.
type nobody struct{ Handler }
