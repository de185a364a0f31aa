package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// device is the real proxy.
type device struct {
	apiserver.Backend // what is not asked for here
	address           string
	subscribed        chan struct{}
	session           *apiserver.Session
	wg                sync.WaitGroup
}

func newDevice(ctx context.Context, s setting) (*device, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	d := &device{address: ln.Addr().String(), subscribed: make(chan struct{})}
	d.wg.Go(func() {
		defer ln.Close()
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		_ = apiserver.Serve(ctx, conn, apiserver.Config{
			Device: func() apiserver.Device {
				return apiserver.Device{Name: "proxy", MAC: "24:6F:28:00:00:01", BluetoothMAC: "24:6F:28:00:00:03", ESPHomeVersion: "2026.10.0",
					Features: ble.FeaturePassiveScan | ble.FeatureRawAdvertisements | ble.FeatureStateAndMode}
			},
			PSK: s.key(), APIMinor: 19, AuthOnHello: true, Log: slog.New(slog.DiscardHandler), Queue: apiserver.QueueLimits{Adverts: 1 << 20},
		}, d)
	})
	return d, nil
}

func (d *device) wait() { d.wg.Wait() }

func (d *device) Opened(s *apiserver.Session)                     { d.session = s }
func (d *device) Closed(*apiserver.Session)                       {}
func (d *device) UnsubscribeAdverts(*apiserver.Session)           {}
func (d *device) SubscribeSlots(*apiserver.Session)               {}
func (d *device) SetScanMode(*apiserver.Session, ble.ScannerMode) {}
func (d *device) Read(*apiserver.Session, ble.Address, uint16)    {}
func (d *device) Disconnect(s *apiserver.Session, a ble.Address)  { s.Connection(a, false, 0, 0) }
func (d *device) SubscribeAdverts(s *apiserver.Session, _ bool) {
	s.Scanner(apiserver.ScannerStatus{State: ble.ScannerRunning})
	close(d.subscribed)
}

// last is the number of the batch that ends the measurement.
const last = 1 << 30

// send sends count batches with numbers from first on, at the setting's pace.
func (d *device) send(s setting, count int, first uint32) {
	ticker := time.NewTicker(s.every)
	defer ticker.Stop()
	for n := range count {
		<-ticker.C
		batch := make([]ble.RawAdvert, s.size)
		for i := range batch {
			batch[i] = ble.RawAdvert{Address: ble.Address(0xC82B96000000 + i), Type: 1, RSSI: -60, Data: payload(first+uint32(n), i)}
		}
		d.session.RawAdverts(batch)
	}
}

// host is one host that shares the proxy. It counts what comes and notes which frames are which batches.
type host struct {
	conn    net.Conn
	over    chan struct{}
	frames  int            // behind the handshake
	batches map[int]uint32 // numbers by frame
}

func dialHost(ctx context.Context, port uint16, s setting) (*host, error) {
	var conn net.Conn
	var err error
	for deadline := time.Now().Add(patience); ; { // the listener may not be there yet
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			return nil, err
		}
	}
	h := &host{conn: conn, over: make(chan struct{}), batches: map[int]uint32{}}
	f := apiwire.NewPlain(conn)
	if s.noise {
		f, _, err = apiwire.ClientHandshake(conn, apiwire.ClientNoise{PSK: key})
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	var buf []byte
	for _, m := range []proto.Message{&apipb.HelloRequest{ClientInfo: "host", ApiVersionMajor: 1, ApiVersionMinor: 14}, &apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1}} {
		buf, err = f.AppendMessage(buf, m)
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	if _, err := conn.Write(buf); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go h.read(f)
	return h, nil
}

func (h *host) read(f *apiwire.Framer) {
	for {
		id, body, err := f.Read()
		if err != nil {
			return
		}
		h.frames++
		if id != apiwire.BluetoothLERawAdvertisementsResponse {
			continue
		}
		m, err := apiwire.Unmarshal(id, body)
		if err != nil {
			return
		}
		n, ok := number(m.(*apipb.BluetoothLERawAdvertisementsResponse).GetAdvertisements()[0].GetData())
		if !ok {
			continue
		}
		h.batches[h.frames] = n
		if n == last {
			close(h.over)
			return
		}
	}
}
