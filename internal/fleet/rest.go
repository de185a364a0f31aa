package fleet

import (
	"context"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/relay"
)

// Rest is the way to what the device is besides a proxy.
type Rest struct{ p *Proxy }

// Rest gives the way to the rest of the device, which leads nowhere while the proxy is offline.
func (p *Proxy) Rest() Rest { return Rest{p} }

// Open opens a session with the device beside the daemon's own.
func (r Rest) Open(ctx context.Context, hello relay.Hello) (*relay.Session, error) {
	p := r.p
	p.mu.Lock()
	d := relay.Device{Dial: p.DialBeside, Password: p.cfg.Password.Reveal(), MAC: p.info.MAC}
	p.mu.Unlock()
	if p.cfg.NoisePSK.IsSet() {
		key := p.cfg.NoisePSK.Key()
		d.PSK = &key
	}
	return d.Open(ctx, hello)
}

// Entities lists what the device has, by the daemon's own session.
func (r Rest) Entities(ctx context.Context) ([]relay.Message, error) {
	return messages(r.p.Entities(ctx))
}

// Capabilities is the payload of the device's message 150.
func (r Rest) Capabilities(ctx context.Context) ([]byte, error) { return r.p.Capabilities(ctx) }

func messages(list []apiconn.Unread, err error) ([]relay.Message, error) {
	out := make([]relay.Message, len(list))
	for i, m := range list {
		out[i] = relay.Message(m)
	}
	return out, err
}
