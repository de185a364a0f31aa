// Package floor does the least that a program must do with the advertisements of proxies: it reads, decrypts and
// decodes them, and compares each with the one before. It has no D-Bus and reports nothing. Its cost is the floor of
// the benchmarks.
package floor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"

	"google.golang.org/protobuf/proto"
)

// Floor remembers each device's last payload.
type Floor struct {
	mu      sync.Mutex
	devices map[uint64]*device // under mu
}

type device struct {
	data []byte
	rssi int32
	seen time.Time
	news int // number of payloads that differed from the one before
}

// Run reads the proxies at the addresses until ctx ends. PSK is their key in base64; "" is plaintext.
func Run(ctx context.Context, addresses []string, psk string) error {
	f := &Floor{devices: map[uint64]*device{}}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, a := range addresses {
		wg.Go(func() {
			if err := f.proxy(ctx, a, psk); err != nil {
				cancel(fmt.Errorf("cannot read proxy %s: %w", a, err))
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// readBuffer is the size of the buffer of a socket.
const readBuffer = 64 << 10

func (f *Floor) proxy(ctx context.Context, address, psk string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer conn.Close()
	rw := struct {
		io.Reader
		io.Writer
	}{bufio.NewReaderSize(conn, readBuffer), conn}
	framer := apiwire.NewPlain(rw)
	if psk != "" {
		key, err := apiwire.ParsePSK(psk)
		if err != nil {
			return err
		}
		framer, _, err = apiwire.ClientHandshake(rw, apiwire.ClientNoise{PSK: key})
		if err != nil {
			return err
		}
	}
	for _, m := range []proto.Message{
		&apipb.HelloRequest{ClientInfo: "floor", ApiVersionMajor: 1, ApiVersionMinor: 14},
		&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1},
	} {
		b, err := framer.AppendMessage(nil, m)
		if err != nil {
			return err
		}
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
	for {
		id, payload, err := framer.Read()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		switch id {
		case apiwire.BluetoothLERawAdvertisementsResponse:
			if err := f.adverts(payload); err != nil {
				return err
			}
		case apiwire.PingRequest:
			b, err := framer.Append(nil, apiwire.PingResponse, nil)
			if err != nil {
				return err
			}
			if _, err := conn.Write(b); err != nil {
				return err
			}
		}
	}
}

var errMalformed = errors.New("a message 93 cannot be decoded")

// adverts takes one message 93 (BluetoothLERawAdvertisementsResponse).
func (f *Floor) adverts(b []byte) error {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(b) > 0 {
		n, used := binary.Uvarint(b[1:])
		if b[0] != 0x0a || used <= 0 || uint64(len(b)-1-used) < n {
			return errMalformed
		}
		if !f.advert(b[1+used:1+used+int(n)], now) {
			return errMalformed
		}
		b = b[1+used+int(n):]
	}
	return nil
}

func (f *Floor) advert(b []byte, now time.Time) bool {
	var (
		address uint64
		rssi    int32
		data    []byte
	)
	for len(b) > 0 {
		v, used := binary.Uvarint(b[1:])
		if used <= 0 {
			return false
		}
		tag := b[0]
		b = b[1+used:]
		switch tag {
		case 0x08:
			address = v
		case 0x10:
			rssi = int32(v>>1) ^ -int32(v&1)
		case 0x18: // the address type
		case 0x22:
			if v > uint64(len(b)) {
				return false
			}
			data, b = b[:v], b[v:]
		default:
			return false
		}
	}
	d := f.devices[address]
	if d == nil {
		d = &device{}
		f.devices[address] = d
	}
	d.rssi, d.seen = rssi, now
	if !bytes.Equal(d.data, data) {
		d.data = append(d.data[:0], data...)
		d.news++
	}
	return true
}
