package share

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/lockorder"
	"bluez-esphome/internal/relay"
)

// Rest is the way to what the real device is besides a proxy: its sensors, lights and buttons, its log, its camera. Its
// methods are goroutine-safe and end with their context.
type Rest interface {
	// Open opens a session with the device for one host. The error wraps relay.ErrFull where the device has no place
	// for it.
	Open(ctx context.Context, hello relay.Hello) (*relay.Session, error)
	// Entities lists what the device has, by the session that the daemon has with it anyway: the messages up to
	// ListEntitiesDoneResponse.
	Entities(ctx context.Context) ([]relay.Message, error)
	// Capabilities is the payload of the device's message 150.
	Capabilities(ctx context.Context) ([]byte, error)
}

const (
	// maxHeld and maxHeldBytes bound the messages of a host that wait until its session with the device is open; with
	// more it is not read from.
	maxHeld      = 32
	maxHeldBytes = 64 << 10
	// openAgain is how often a device that had no place is asked again.
	openAgain = 30 * time.Second
)

// restState says how far a host's session with the device is.
//
//	unused ──first message──> opening ──> open ──its end ends the host's session
//	                             └──> shut ──a place is free──> the host is made to come back
type restState uint8

const (
	restUnused restState = iota
	restOpening
	restOpen
	restShut
)

// rest is what a host has of the device besides the proxy: a session of its own, since subscriptions, images and voices
// are per connection. It is opened with the first message that asks for such things.
type rest struct {
	h *host

	mu      lockorder.Mutex[lockorder.HostRest]
	state   restState
	up      *relay.Session  // of restOpen
	why     error           // of restShut
	held    []relay.Message // of restOpening
	bytes   int             // of held
	changed chan struct{}   // closed when restOpening ends

	sent, received atomic.Uint64 // messages to the device and from it
}

// Other implements apiserver.OtherBackend.
func (p *Proxy) Other(s *apiserver.Session, id apiwire.ID, payload []byte) {
	if p.rest == nil { // all proxies as one are no device
		if id == apiwire.ListEntitiesRequest { // clients such as Home Assistant wait for the end of the list
			s.Send(apiwire.ListEntitiesDoneResponse, nil)
		}
		return
	}
	p.host(s).rest.take(id, payload)
}

// take passes a message of the host on, or holds it until that is possible. It is called by the goroutine that reads
// from the host, and waits while the device does not take what the host sent.
func (r *rest) take(id apiwire.ID, payload []byte) {
	for {
		r.mu.Lock()
		state, up, changed := r.state, r.up, r.changed
		if state == restUnused {
			r.state, r.changed = restOpening, make(chan struct{})
			r.h.spawn(r.run)
		}
		held := state <= restOpening && (len(r.held) == 0 || len(r.held) < maxHeld && r.bytes+len(payload) <= maxHeldBytes)
		if held {
			r.held = append(r.held, relay.Message{ID: id, Payload: slices.Clone(payload)})
			r.bytes += len(payload)
		}
		r.mu.Unlock()
		switch {
		case held:
			return
		case state == restOpen:
			if up.Send(id, payload) == nil { // else run ends the host's session
				r.sent.Add(1)
			}
			return
		case state == restShut:
			r.refuse(id)
			return
		}
		select {
		case <-changed:
		case <-r.h.s.Done():
			return
		}
	}
}

// run is the host's session with the device, until ctx ends with the host's.
func (r *rest) run(ctx context.Context) {
	up, err := r.h.p.rest.Open(ctx, r.hello())
	if err != nil {
		r.shut(ctx, err)
		return
	}
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		r.release(up)
	}()
	err = up.Run(ctx, r.pass)
	<-opened
	var left *relay.LeftError
	switch {
	case ctx.Err() != nil:
	case errors.As(err, &left): // as the device says it
		r.h.s.Disconnect(apiserver.DisconnectReason(left.Reason))
	default:
		// What the host subscribed is gone; only a new session tells it so.
		r.h.s.Close(fmt.Errorf("its session with the device ended: %w", err))
	}
}

// hello is what the device is told: who the host is, and what it speaks, since the device's messages are for it.
func (r *rest) hello() relay.Hello {
	major, minor := r.h.s.ClientVersion()
	return relay.Hello{Name: r.h.s.ClientName(), Major: major, Minor: minor}
}

// release sends what was held, in order, and opens the way for what follows.
func (r *rest) release(up *relay.Session) {
	for {
		r.mu.Lock()
		held := r.held
		r.held, r.bytes = nil, 0
		if len(held) == 0 {
			r.state, r.up = restOpen, up
			close(r.changed)
		}
		r.mu.Unlock()
		if len(held) == 0 {
			return
		}
		for _, m := range held {
			if up.Send(m.ID, m.Payload) == nil {
				r.sent.Add(1)
			}
		}
	}
}

// pass gives the host messages of the device, but for the proxy's: those are not asked for in this session.
func (r *rest) pass(ctx context.Context, list []relay.Message) error {
	out := make([]apiserver.Relayed, 0, len(list))
	for _, m := range list {
		if !proxys(m.ID) {
			out = append(out, apiserver.Relayed(m))
		}
	}
	if len(out) == 0 {
		return nil
	}
	r.received.Add(uint64(len(out)))
	return r.h.s.Relay(ctx, out...)
}

// proxys reports whether a message is the session's or the Bluetooth proxy's.
func proxys(id apiwire.ID) bool {
	switch id {
	case apiwire.ListEntitiesDoneResponse, apiwire.SubscribeLogsResponse, apiwire.GetTimeRequest, apiwire.GetTimeResponse:
		return false
	}
	return apiwire.Known(id)
}

// shut leaves the host with the proxy only, until the device has a place for it.
func (r *rest) shut(ctx context.Context, why error) {
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	held := r.held
	r.state, r.why, r.held, r.bytes = restShut, why, nil, 0
	close(r.changed)
	r.mu.Unlock()
	r.h.p.log.Warn("A host gets the proxy only, not the sensors and other entities of the device: there is no session for them", "host", r.h.s.ClientName(),
		"address", addressOf(r.h.s), "error", why)
	for _, m := range held {
		r.refuse(m.ID)
	}
	tick := time.NewTicker(openAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if r.h.p.linksOf(r.h) > 0 { // it is not disturbed
			continue
		}
		up, err := r.h.p.rest.Open(ctx, r.hello())
		if err != nil {
			continue
		}
		over, end := context.WithCancel(ctx)
		end()
		_ = up.Run(over, r.pass) // takes leave
		r.h.s.Close(errRoom)
		return
	}
}

// errRoom is why a session ends whose host is to come back for the entities.
var errRoom = errors.New("the device has a place for the host again")

// refuse answers what can be answered without a session. The list of entities is what the device has: a client such as
// Home Assistant would delete those that are not in it. Nothing else is answered, and nothing is kept to be done later.
func (r *rest) refuse(id apiwire.ID) {
	s := r.h.s
	switch id {
	case apiwire.ListEntitiesRequest:
		r.h.job(func(ctx context.Context) error {
			list, err := r.h.p.rest.Entities(ctx)
			for _, m := range list {
				if err == nil {
					err = s.Relay(ctx, apiserver.Relayed(m))
				}
			}
			return err
		}, func(err error) {
			if err != nil {
				r.h.p.log.Warn("Cannot tell a host what the device has", "host", s.ClientName(), "error", err)
			}
		})
	case apiwire.SubscribeLogsRequest:
		r.mu.Lock()
		why := r.why
		r.mu.Unlock()
		s.LogLine(apiserver.LogError, "bluez-esphome: this session has the Bluetooth proxy only: "+why.Error())
	}
}

// uses is what Status tells.
func (r *rest) uses() (entities bool, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == restShut {
		return false, r.why.Error()
	}
	return r.state == restOpen, ""
}

// linksOf is how many links and attempts a host has.
func (p *Proxy) linksOf(h *host) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(h.devices)
}
