package apiconn

import (
	"context"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// A Probed is what a device says of itself to somebody who does not subscribe.
type Probed struct {
	Info
	// Slots are its connection slots; not Known for a device that has none or does not say. None of them is ours: what is
	// allocated is in use by another host.
	Slots ble.Slots
}

// Probe connects to the proxy of cfg once, asks what it is and takes leave. It subscribes to nothing, so whoever
// uses the proxy keeps it. Handler and OnConflict are not used; the errors are those of a Proxy's attempts.
func Probe(ctx context.Context, cfg Config) (Probed, error) {
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
	s.w.post(&apipb.DisconnectRequest{})
	_, _ = s.await(apiwire.DisconnectResponse, leaveTimeout) // it ends here anyway
	s.unhook()
	s.end(ErrStopped)
	return Probed{s.info, s.first}, nil
}

// nobody is the Handler of a session that is never run.
type nobody struct{ Handler }
