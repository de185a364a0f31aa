package proxysim

import (
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/apiwire"
)

// keyDelay is how long after message 125 a new key is active and every client is asked to leave.
const keyDelay = 100 * time.Millisecond

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
		p.key = next
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
	return p.key
}

// openWindow begins the time that a device without a key waits for one, if it has such a limit.
func (p *Proxy) openWindow() {
	p.air.sched.stop(p.window)
	p.window, p.closed = nil, false
	if p.cfg.ProvisioningWindow > 0 && p.cfg.Unprovisioned && p.key == nil {
		p.window = p.air.sched.after(p.cfg.ProvisioningWindow, func() { p.closed = p.key == nil })
	}
}

// provisioningClosed reports whether new clients are turned away.
func (p *Proxy) provisioningClosed() bool {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	return p.closed
}
