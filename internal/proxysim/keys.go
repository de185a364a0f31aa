package proxysim

import (
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/apiwire"
)

// keyDelay is how long after message 125 a new key is active and every client is asked to leave.
const keyDelay = 100 * time.Millisecond

// provisioning is the key of a proxy, and its wait for one.
type provisioning struct {
	key    *[apiwire.KeySize]byte // at present
	window *event                 // the end of the time that it waits for a key
	closed bool                   // it does not wait for a key any more
}

// open begins the time that a device without a key waits for one; within 0 it waits for ever.
func (k *provisioning) open(s *scheduler, within time.Duration) {
	s.stop(k.window)
	k.window, k.closed = nil, false
	if within > 0 && k.key == nil {
		k.window = s.after(within, func() { k.closed = k.key == nil })
	}
}

// setKey is message 124: a client sets the key of a device that was built to encrypt but has none, or has one that a
// client set. The key is text, base64 of 32 bytes; none at all clears the present one. A key of the device's
// configuration cannot be changed, and a device built without encryption does not answer.
func (p *Proxy) setKey(s *apiserver.Session, sent []byte) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	switch {
	case p.cfg.PSK != nil:
		s.KeySet(false)
		return
	case !p.cfg.Unprovisioned:
		return
	}
	var next *[apiwire.KeySize]byte
	if len(sent) > 0 {
		key, err := apiwire.ParsePSK(string(sent))
		if err != nil || key == [apiwire.KeySize]byte{} { // the key of zeros stands for none
			s.KeySet(false)
			return
		}
		next = &key
	}
	s.KeySet(true)
	p.air.sched.after(keyDelay, func() {
		p.keys.key = next
		p.goodbye()
	})
}

// goodbye asks every client to leave.
func (p *Proxy) goodbye() {
	for s := range p.sessions {
		s.Disconnect(apiserver.ReasonUnspecified)
	}
}

// Key is the key that clients have to have at present; nil means plaintext.
func (p *Proxy) Key() *[apiwire.KeySize]byte {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	return p.keys.key
}

// openWindow begins the time that a device without a key waits for one, if it has such a limit.
func (p *Proxy) openWindow() {
	within := p.cfg.ProvisioningWindow
	if !p.cfg.Unprovisioned {
		within = 0
	}
	p.keys.open(p.air.sched, within)
}

// provisioningClosed reports whether new clients are turned away.
func (p *Proxy) provisioningClosed() bool {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	return p.keys.closed
}
