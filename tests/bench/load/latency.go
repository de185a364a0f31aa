package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"

	"google.golang.org/protobuf/proto"
)

// latency sends frames at a pace and measures how long each takes until a subscriber of this process has read it: one
// at the address, to which the daemon passes them on, or, without an address, one of the proxy itself. The time is
// taken before the sender writes and after the subscriber has decoded.
func (l *Load) latency(ctx context.Context, c Command) Answer {
	a, err := l.transit(ctx, c)
	if err != nil {
		return Answer{Error: fmt.Sprintf("cannot measure the latency: %v", err)}
	}
	return a
}

func (l *Load) transit(ctx context.Context, c Command) (Answer, error) {
	p := l.proxies[0]
	if l.spec.Mix != MixSensors || l.spec.ChangeEvery != 1 || l.perPass() != 1 || l.spec.PSK != "" && c.Address == "" {
		return Answer{}, errors.New("that wants one plain proxy, whose frames each have every device with another payload")
	}
	address := c.Address
	if address == "" {
		address = p.listener.Addr().String()
	}
	heard, err := listen(ctx, address, deviceAddress(&l.spec, 0))
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", address, err)
	}
	defer heard.conn.Close()
	if c.Address == "" {
		p.to = <-p.subscribed
	}
	interval := time.Duration(float64(l.spec.Frame) / c.Rate * float64(time.Second))
	var took []time.Duration
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for i := range warmUp + c.Count {
		<-ticker.C
		want := uint32(p.pass)
		start := time.Now()
		p.to.mu.Lock()
		err := p.append(1)
		if err == nil {
			err = p.flush()
		}
		p.to.mu.Unlock()
		if err != nil {
			return Answer{}, err
		}
		if err := heard.until(want); err != nil {
			return Answer{}, fmt.Errorf("frame %d: %w", i, err)
		}
		if i >= warmUp {
			took = append(took, time.Since(start))
		}
	}
	slices.Sort(took)
	at := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() }
	return Answer{Count: len(took), P50: at(0.5), P99: at(0.99)}, nil
}

const (
	// warmUp is the number of frames that are sent first and not measured.
	warmUp = 50
	// hearTimeout is how long a frame may take.
	hearTimeout = 10 * time.Second
)

// listener is a subscriber that reads the advertisements of one device.
type listener struct {
	conn   net.Conn
	framer *apiwire.Framer
	device uint64
	at     int // the place of the counter in its payload
}

func listen(ctx context.Context, address string, device uint64) (*listener, error) {
	conn, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	_, at := payload(MixSensors, 0)
	h := &listener{at: at, conn: conn, framer: apiwire.NewPlain(conn), device: device}
	for _, m := range []proto.Message{
		&apipb.HelloRequest{ClientInfo: "listener", ApiVersionMajor: 1, ApiVersionMinor: 14},
		&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1},
		&apipb.PingRequest{},
	} {
		var b []byte
		b, err = h.framer.AppendMessage(nil, m)
		if err == nil {
			_, err = conn.Write(b)
		}
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	for { // the proxy answers in order: it has taken the requests before this one
		id, _, err := h.framer.Read()
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		if id == apiwire.PingResponse {
			return h, nil
		}
	}
}

// dial connects as soon as somebody listens there.
func dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, hearTimeout)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return conn, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// until reads until a payload of the device has that counter.
func (h *listener) until(counter uint32) error {
	if err := h.conn.SetReadDeadline(time.Now().Add(hearTimeout)); err != nil {
		return err
	}
	for {
		id, payload, err := h.framer.Read()
		if err != nil {
			return err
		}
		if id != apiwire.BluetoothLERawAdvertisementsResponse {
			continue
		}
		var a apiwire.RawAdvert
		for found := false; ; {
			n, err := apiwire.DecodeRawAdvert(payload, &a)
			if err != nil {
				return err
			}
			if n == 0 {
				if found {
					return nil
				}
				break
			}
			if a.Address == h.device && len(a.Data) >= h.at+counterSize && binary.LittleEndian.Uint32(a.Data[h.at:]) == counter {
				found = true
			}
			payload = payload[n:]
		}
	}
}
