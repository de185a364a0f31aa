package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
	rest "bluez-esphome/internal/relay"
	sharing "bluez-esphome/internal/share"
)

const aboutRelayed = `What a message costs that is not Bluetooth's and goes from a device through a shared proxy to a host: CPU beyond that of the two ends, encrypted on both
sides, beside a bare relay that does nothing but decrypt a frame and encrypt it again, with all frames of one read in one write. States of 32 bytes,
in bursts of 16; and images, which come as fast as they are taken, in frames of 1 KiB. The heap is that of the whole process,
both ends included.`

// relayed measures the three ways from a device to a host in this process.
func relayed(ctx context.Context, w *world, r *result) error {
	const cpu = "CPU a message, µs"
	for _, kind := range []struct {
		name        string
		size, burst int
		count       int
	}{{"states", 32, 16, w.scale(200_000)}, {"images", 1024, 0, w.scale(200_000)}} {
		g := r.group(kind.name)
		for range w.rounds {
			straight, err := passed(ctx, connectStraight, kind.size, kind.burst, kind.count)
			if err != nil {
				return err
			}
			bare, err := passed(ctx, connectBare, kind.size, kind.burst, kind.count)
			if err != nil {
				return err
			}
			ours, err := passed(ctx, connectShared, kind.size, kind.burst, kind.count)
			if err != nil {
				return err
			}
			g.add("bare relay", cpu, max(bare-straight, leastCPU))
			g.add("shared proxy", cpu, max(ours-straight, leastCPU))
		}
		g.ratio(cpu, "shared proxy", "bare relay", 1.5)
	}
	g := r.group("memory")
	const heap = "heap, KiB"
	for range w.rounds {
		before, after, err := imagesGrow(ctx, w.scale(256<<10))
		if err != nil {
			return err
		}
		g.add("after 16 MiB of images", heap, before)
		g.add("after 256 MiB more", heap, after)
	}
	g.ratio(heap, "after 256 MiB more", "after 16 MiB of images", 1.2)
	return nil
}

// leastCPU is the smallest difference of two measurements that is reported, in microseconds: noise can make it zero or
// negative.
const leastCPU = 0.01

const imageID apiwire.ID = 44 // CameraImageResponse

// way connects a host to the device at an address.
type way func(ctx context.Context, key *[32]byte, device string) (host net.Conn, stop func(), err error)

// passed gives the CPU time of this process for each message on that way, in microseconds.
func passed(ctx context.Context, via way, size, burst, count int) (float64, error) {
	e, err := newEnds(ctx, via)
	if err != nil {
		return 0, err
	}
	defer e.stop()
	if err := e.pass(size, burst, count/10); err != nil { // the first messages are not measured
		return 0, err
	}
	before := processCPU()
	if err := e.pass(size, burst, count); err != nil {
		return 0, err
	}
	return micros(processCPU()-before) / float64(count), nil
}

// imagesGrow gives the heap of this process, in KiB, after a sixteenth of the images and after all of them.
func imagesGrow(ctx context.Context, count int) (before, after float64, err error) {
	e, err := newEnds(ctx, connectShared)
	if err != nil {
		return 0, 0, err
	}
	defer e.stop()
	if err := e.pass(1024, 0, count/16); err != nil {
		return 0, 0, err
	}
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / 1024
	}
	before = heap()
	if err := e.pass(1024, 0, count); err != nil {
		return 0, 0, err
	}
	return before, heap(), nil
}

func processCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ends are a device and a host with a way between them.
type ends struct {
	device, host *end
	stopWay      func()
	ln           net.Listener
}

type end struct {
	conn net.Conn
	f    *apiwire.Framer
}

func (e *end) write(list ...proto.Message) error {
	var out []byte
	for _, m := range list {
		var err error
		out, err = e.f.AppendMessage(out, m)
		if err != nil {
			return err
		}
	}
	_, err := e.conn.Write(out)
	return err
}

func (e *end) until(id apiwire.ID) error {
	for {
		got, _, err := e.f.Read()
		if err != nil || got == id {
			return err
		}
	}
}

func newEnds(ctx context.Context, via way) (*ends, error) {
	var key [32]byte
	_, _ = rand.Read(key[:])
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &ends{ln: ln, host: &end{}, device: &end{}}
	accepted := make(chan error, 1)
	go func() { accepted <- e.accept(&key) }()
	e.host.conn, e.stopWay, err = via(ctx, &key, ln.Addr().String())
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	e.host.f, _, err = apiwire.ClientHandshake(e.host.conn, apiwire.ClientNoise{PSK: key})
	if err != nil {
		return nil, err
	}
	hello := &apipb.HelloRequest{ClientInfo: "bench", ApiVersionMajor: 1, ApiVersionMinor: 14}
	if err := e.host.write(hello, &apipb.ListEntitiesRequest{}); err != nil {
		return nil, err
	}
	if err := <-accepted; err != nil {
		return nil, err
	}
	return e, e.host.until(imageID)
}

// accept plays the device until the first relayed message, and sends one to the host.
func (e *ends) accept(key *[32]byte) (err error) {
	d := e.device
	d.conn, err = e.ln.Accept()
	if err != nil {
		return err
	}
	d.f, err = apiwire.ServerHandshake(d.conn, apiwire.ServerNoise{PSK: *key, Name: "bench", MAC: "246f28000001"})
	if err != nil {
		return err
	}
	for {
		id, _, err := d.f.Read()
		switch {
		case err != nil:
			return err
		case id == apiwire.HelloRequest:
			err = d.write(&apipb.HelloResponse{ApiVersionMajor: 1, ApiVersionMinor: 14})
		case id == apiwire.DeviceInfoRequest:
			err = d.write(&apipb.DeviceInfoResponse{MacAddress: benchMAC})
		case id == apiwire.ListEntitiesRequest:
			go func() { _, _ = io.Copy(io.Discard, d.conn) }() // it ends with the connection
			return e.send([]byte("first"), 1)
		}
		if err != nil {
			return err
		}
	}
}

func (e *ends) send(payload []byte, times int) (err error) {
	var out []byte
	for range times {
		out, err = e.device.f.Append(out, imageID, payload)
		if err != nil {
			return err
		}
	}
	_, err = e.device.conn.Write(out)
	return err
}

// pass sends messages from the device, and waits until the host has all of them: after each burst or, if burst is 0, at
// the end.
func (e *ends) pass(size, burst, count int) error {
	payload := make([]byte, size)
	if burst > 0 {
		for n := 0; n < count; n += burst {
			if err := e.send(payload, burst); err != nil {
				return err
			}
			for range burst {
				if err := e.host.until(imageID); err != nil {
					return err
				}
			}
		}
		return nil
	}
	sent := make(chan error, 1)
	go func() {
		for n := 0; n < count; n += 8 {
			if err := e.send(payload, 8); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for range (count + 7) / 8 * 8 {
		if err := e.host.until(imageID); err != nil {
			return err
		}
	}
	return <-sent
}

func (e *ends) stop() {
	_ = e.host.conn.Close()
	_ = e.device.conn.Close()
	_ = e.ln.Close()
	e.stopWay()
}

func connectStraight(ctx context.Context, _ *[32]byte, device string) (net.Conn, func(), error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", device)
	return conn, func() {}, err
}

// connectBare connects through a relay that only passes frames on.
func connectBare(ctx context.Context, key *[32]byte, device string) (net.Conn, func(), error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	go func() {
		near, err := ln.Accept()
		if err != nil {
			return
		}
		defer func() { _ = near.Close() }()
		a, err := apiwire.ServerHandshake(near, apiwire.ServerNoise{PSK: *key})
		if err != nil {
			return
		}
		far, err := (&net.Dialer{}).DialContext(ctx, "tcp", device)
		if err != nil {
			return
		}
		defer func() { _ = far.Close() }()
		b, _, err := apiwire.ClientHandshake(far, apiwire.ClientNoise{PSK: *key})
		if err != nil {
			return
		}
		go frames(a, b, far)
		frames(b, a, near)
	}()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", ln.Addr().String())
	return conn, func() { _ = ln.Close() }, err
}

// frames passes on the frames that from reads. Frames that came together leave in one write.
func frames(from, to *apiwire.Framer, conn net.Conn) {
	var out []byte
	for {
		id, payload, err := from.Read()
		if err == nil {
			out, err = to.Append(out, id, payload)
		}
		if err == nil && from.Buffered() {
			continue
		}
		if err == nil {
			_, err = conn.Write(out)
		}
		if err != nil {
			return
		}
		out = out[:0]
	}
}

const benchMAC = "24:6F:28:00:00:01"

// connectShared connects through a shared proxy of package share.
func connectShared(ctx context.Context, key *[32]byte, device string) (net.Conn, func(), error) {
	address, err := freePort(ctx)
	if err != nil {
		return nil, nil, err
	}
	_, text, _ := net.SplitHostPort(address)
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, nil, err
	}
	s := sharing.New(sharing.Config{
		Listen: "127.0.0.1", BasePort: uint16(port), PSK: key, Names: "{name}-shared", Installation: 1, ModeChanged: func(string) {},
		Links: func(sharing.Host, links.Events) links.Links { return noLinks{} },
		Index: func(ble.Address) (int, bool) { return 0, true }, Log: slog.New(slog.DiscardHandler),
	})
	d := rest.Device{PSK: key, MAC: benchMAC, Dial: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", device)
	}}
	if _, err := s.Up(sharing.Info{ID: "p", Name: "p", MAC: benchMAC, Version: "2026.10.0", APIMinor: 14, Rest: benchRest{d}}); err != nil {
		return nil, nil, err
	}
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil || ctx.Err() != nil {
			return conn, s.Close, err
		}
	}
}

// noLinks is the links of a host that makes none.
type noLinks struct{ links.Links }

func (noLinks) Close() {}

type benchRest struct{ rest.Device }

func (benchRest) Entities(context.Context) ([]rest.Message, error) { return nil, errors.New("none") }

func (benchRest) Capabilities(context.Context) ([]byte, error) { return nil, errors.New("none") }
