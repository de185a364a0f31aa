package apiconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// Unread is a message that does not belong to the Bluetooth proxy, as it came.
type Unread struct {
	ID      apiwire.ID
	Payload []byte
}

// maxUnread bounds the answers to one question, in bytes. A device with 300 entities lists them in some 30 KiB.
const maxUnread = 1 << 20

// question is a request that the device answers with messages of which only the last one's number is known.
type question struct {
	last  apiwire.ID
	heard []Unread
	size  int
	over  chan struct{} // closed when the last one came, or too much
	full  bool
}

// DialBeside connects to the address at which the last session reached the device, for another session beside it.
func (p *Proxy) DialBeside(ctx context.Context) (net.Conn, error) {
	at := p.at.Load()
	if at == nil {
		return nil, fmt.Errorf("%s is offline: %w", p.Name(), ble.ErrNotConnected)
	}
	return p.cfg.Dial(ctx, "tcp", (*at).String())
}

// Entities asks over the present session what the device has besides the proxy. It returns the messages
// ListEntities…Response, the last of which ends the list.
func (p *Proxy) Entities(ctx context.Context) ([]Unread, error) {
	return p.ask(ctx, &apipb.ListEntitiesRequest{}, apiwire.ListEntitiesDoneResponse)
}

// Capabilities is the payload of the device's message 150 (ESPHome native API 1.15 and later).
func (p *Proxy) Capabilities(ctx context.Context) ([]byte, error) {
	heard, err := p.ask(ctx, &apipb.DeviceCapabilitiesRequest{}, apiwire.DeviceCapabilitiesResponse)
	if err != nil {
		return nil, err
	}
	return heard[len(heard)-1].Payload, nil
}

// ask asks one question at a time, since answers do not say to which they belong.
func (p *Proxy) ask(ctx context.Context, request proto.Message, last apiwire.ID) ([]Unread, error) {
	ctx, cancel := context.WithTimeout(ctx, simpleTimeout)
	defer cancel()
	select {
	case p.asking <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-p.asking }()
	s := p.current.Load()
	if s == nil {
		return nil, ble.ErrNotConnected
	}
	q := &question{last: last, over: make(chan struct{})}
	s.asked.Store(q)
	defer s.asked.Store(nil)
	if err := s.w.send(ctx, request); err != nil {
		return nil, err
	}
	select {
	case <-q.over:
	case <-s.done:
		return nil, ble.ErrNotConnected
	case <-ctx.Done():
		return nil, &NoAnswerError{To: apiwire.IDOf(request)}
	}
	if q.full {
		return nil, errors.New("the device's answer is too long")
	}
	return q.heard, nil
}

// unread takes a message that does not belong to the proxy. It runs in the goroutine that reads.
func (s *session) unread(id apiwire.ID, payload []byte) {
	q := s.asked.Load()
	if q == nil {
		return
	}
	q.size += len(payload)
	q.full = q.size > maxUnread
	if !q.full {
		q.heard = append(q.heard, Unread{id, slices.Clone(payload)})
	}
	if q.full || id == q.last {
		s.asked.Store(nil)
		close(q.over)
	}
}
