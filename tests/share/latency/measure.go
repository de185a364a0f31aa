package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/share"
)

// setting is what is measured.
type setting struct {
	hosts   int
	noise   bool
	size    int // advertisements in a batch
	batches int
	every   time.Duration
}

// patience bounds each wait for something that comes at once, on a machine that is not busy.
const patience = 4 * time.Minute

var key = [32]byte{1, 2, 3}

func (s setting) key() *[32]byte {
	if s.noise {
		return &key
	}
	return nil
}

// wiring is the daemon's part: it takes what the session with the proxy brings and hands it to the hosts first, then to
// the table.
type wiring struct {
	apiconn.Handler // what is not used here
	server          *share.Server
	table           *scanner.Table
	online          chan struct{}

	shared *share.Proxy
	read   *stamp
	mu     sync.Mutex
	reads  map[uint32]time.Time // by batch: when its read ended
}

func (w *wiring) Online(_ *apiconn.Proxy, info apiconn.Info) {
	w.table.ProxyUp("proxy")
	var err error
	w.shared, err = w.server.Up(share.Info{
		Name: "proxy", MAC: info.MAC, BluetoothMAC: info.BluetoothMAC, Version: info.Version, APIMinor: info.APIMinor, Features: info.Features,
	})
	if err == nil {
		close(w.online)
	}
}

func (w *wiring) Offline(*apiconn.Proxy, error) {}

func (w *wiring) ScannerState(_ *apiconn.Proxy, state ble.ScannerState, mode, configured ble.ScannerMode) {
	w.shared.Scanner(state, mode, configured)
}

func (w *wiring) Slots(*apiconn.Proxy, ble.Slots) {}

func (w *wiring) Adverts(_ *apiconn.Proxy, at time.Time, batch []ble.RawAdvert) {
	w.shared.Adverts(batch)
	w.table.Adverts("proxy", at, batch)
	if n, ok := number(batch[0].Data); ok {
		w.mu.Lock()
		w.reads[n] = w.read.last()
		w.mu.Unlock()
	}
}

// Batches carry their number in manufacturer data.
func payload(n uint32, i int) []byte {
	return binary.BigEndian.AppendUint32([]byte{2, 1, 6, 9, 0xff, 0xff, 0xff, byte(i), 0x55}, n)
}

func number(data []byte) (uint32, bool) {
	if len(data) != 13 || data[8] != 0x55 {
		return 0, false
	}
	return binary.BigEndian.Uint32(data[9:]), true
}

// measure runs one setting.
func measure(ctx context.Context, s setting) (result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	log := slog.New(slog.DiscardHandler)
	real, err := newDevice(ctx, s)
	if err != nil {
		return result{}, err
	}
	defer real.wait()
	defer cancel()

	var writers writers
	port, err := freePort()
	if err != nil {
		return result{}, err
	}
	w := &wiring{table: scanner.New(scanner.Config{}), online: make(chan struct{}), read: &stamp{}, reads: map[uint32]time.Time{}}
	defer w.table.Close()
	w.server = share.New(share.Config{
		Listen: "127.0.0.1", BasePort: port, PSK: s.key(), Names: "{name}-shared", Installation: 1, Log: log,
		Links: func(share.Host, links.Events) links.Links { return noLinks{} },
		Index: func(ble.Address) (int, bool) { return 0, true }, ModeChanged: func(string) {}, Wrap: writers.wrap,
	})
	defer w.server.Close()
	upstream, err := apiconn.New(apiconn.Config{
		Address: real.address, PSK: s.key(), Handler: w, Logger: log,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return stamped{conn, w.read}, nil
		},
	})
	if err != nil {
		return result{}, err
	}
	if err := upstream.Start(ctx); err != nil {
		return result{}, err
	}
	defer upstream.Stop()
	if err := within(w.online, "the proxy is not online"); err != nil {
		return result{}, err
	}

	hosts := make([]*host, s.hosts)
	for i := range hosts {
		hosts[i], err = dialHost(ctx, port, s)
		if err != nil {
			return result{}, err
		}
		defer hosts[i].conn.Close()
	}
	if err := within(real.subscribed, "nobody subscribes to the proxy"); err != nil {
		return result{}, err
	}
	const warmUp = 50 // batches that do not count: buffers grow, code is read
	real.send(s, warmUp, uint32(s.batches)+1)
	real.send(s, s.batches, 1)
	real.send(s, 1, last)
	for _, h := range hosts {
		if err := within(h.over, "a host does not get the last batch"); err != nil {
			return result{}, err
		}
	}
	upstream.Stop() // so that nothing is noted any more
	w.server.Close()
	var times []time.Duration
	for _, h := range hosts {
		writes, err := writers.of(h, s)
		if err != nil {
			return result{}, err
		}
		for frame, n := range h.batches {
			if read, ok := w.reads[n]; ok && n >= 1 && n <= uint32(s.batches) {
				times = append(times, writes[frame].Sub(read))
			}
		}
	}
	return s.figures(times), nil
}

func within(done <-chan struct{}, complaint string) error {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-done:
		return nil
	case <-t.C:
		return errors.New(complaint)
	}
}

func freePort() (uint16, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("cannot find a port: %w", err)
	}
	defer ln.Close()
	return uint16(ln.Addr().(*net.TCPAddr).Port), nil
}

// noLinks is for hosts that make none.
type noLinks struct{ links.Links }

func (noLinks) Close() {}
