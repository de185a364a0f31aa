package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/tests/bench/floor"
)

// TestPayloads: payloads are valid advertising data and differ by device, and the place of a counter has nothing else.
func TestPayloads(t *testing.T) {
	t.Parallel()
	for _, mix := range []string{MixHome, MixSensors} {
		seen := map[string]int{}
		changing := 0
		for d := range 200 {
			data, counter := payload(mix, d)
			adv := ble.ParseAdvertisement(data)
			if len(data) < 20 || len(data) > 62 {
				t.Errorf("%s %d: %d bytes", mix, d, len(data))
			}
			if adv.Name == "" && len(adv.ManufacturerData) == 0 && len(adv.ServiceData) == 0 {
				t.Errorf("%s %d: %x has no name and no data", mix, d, data)
			}
			if other, ok := seen[string(data)]; ok {
				t.Errorf("%s: devices %d and %d send the same", mix, other, d)
			}
			seen[string(data)] = d
			if counter < 0 {
				continue
			}
			changing++
			f := frame{payload: bytes.Clone(data), counters: []int{counter}}
			f.set(0x01020304)
			if bytes.Equal(f.payload, data) {
				t.Errorf("%s %d: the counter is nowhere in %x", mix, d, data)
			}
			if now := ble.ParseAdvertisement(f.payload); now.Name != adv.Name ||
				len(now.ManufacturerData) != len(adv.ManufacturerData) || len(now.ServiceData) != len(adv.ServiceData) {
				t.Errorf("%s %d: the counter broke %x into %x", mix, d, data, f.payload)
			}
		}
		if want := map[string]int{MixHome: 20, MixSensors: 200}[mix]; changing != want {
			t.Errorf("%s: %d of 200 devices change, want %d", mix, changing, want)
		}
	}
}

// TestStream: every round has every device once, from each proxy, and the same payloads.
func TestStream(t *testing.T) {
	t.Parallel()
	s := &Spec{Proxies: 3, Devices: 50, Frame: 16, Mix: MixHome, ChangeEvery: 1}
	payloads := map[uint64][]byte{}
	for proxy := range s.Proxies {
		frames := stream(s, proxy)
		if want := passes * 4; len(frames) != want {
			t.Fatalf("%d frames, want %d", len(frames), want)
		}
		heard := map[uint64]int{}
		for i := range frames {
			frames[i].set(7)
			var a apiwire.RawAdvert
			for rest := frames[i].payload; ; {
				n, err := apiwire.DecodeRawAdvert(rest, &a)
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
				heard[a.Address]++
				if p, ok := payloads[a.Address]; ok && !bytes.Equal(p, a.Data) {
					t.Fatalf("%x sends %x and %x", a.Address, p, a.Data)
				}
				payloads[a.Address] = bytes.Clone(a.Data)
				rest = rest[n:]
			}
		}
		for a, n := range heard {
			if n != passes {
				t.Errorf("proxy %d: %x %d times", proxy, a, n)
			}
		}
		if len(heard) != s.Devices {
			t.Errorf("proxy %d hears %d devices", proxy, len(heard))
		}
	}
}

// TestRun drives a load by its commands, with the floor as the subscriber.
func TestRun(t *testing.T) {
	t.Parallel()
	for _, psk := range []string{"", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="} {
		ctx, cancel := context.WithCancel(t.Context())
		in, commands := io.Pipe()
		answers, out := io.Pipe()
		ended := make(chan error, 2)
		go func() {
			ended <- Run(ctx, Spec{Proxies: 3, Devices: 40, Frame: 16, PSK: psk, Mix: MixHome, ChangeEvery: 1}, in, out)
		}()
		dec := json.NewDecoder(answers)
		next := func() (a Answer) {
			t.Helper()
			if err := dec.Decode(&a); err != nil {
				t.Fatal(err)
			}
			if a.Error != "" {
				t.Fatal(a.Error)
			}
			return a
		}
		do := func(c Command) Answer {
			t.Helper()
			if err := json.NewEncoder(commands).Encode(c); err != nil {
				t.Fatal(err)
			}
			return next()
		}
		first := next()
		go func() { ended <- floor.Run(ctx, first.Addresses, psk) }()
		do(Command{Do: "wait"})
		for _, rate := range []float64{0, 200_000} {
			// Frames are sent whole.
			if a := do(Command{Do: "send", Count: 48 * 50, Rate: rate}); a.Count != 48*50 || a.Frames != 150 || a.Seconds <= 0 {
				t.Errorf("rate %v: sent %+v", rate, a)
			}
		}
		if err := json.NewEncoder(commands).Encode(Command{Do: "dance"}); err != nil {
			t.Fatal(err)
		}
		var a Answer
		if err := dec.Decode(&a); err != nil || a.Error == "" {
			t.Errorf("an unknown command: %+v, %v", a, err)
		}
		if err := commands.Close(); err != nil {
			t.Fatal(err)
		}
		cancel()
		for range 2 {
			select {
			case err := <-ended:
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			case <-time.After(5 * time.Minute):
				t.Fatal("it does not end")
			}
		}
	}
}

// TestChanges: one device in ten has another payload each round, or each second round if ChangeEvery is 2.
func TestChanges(t *testing.T) {
	t.Parallel()
	for every, want := range map[int]int{0: 1, 1: 6, 2: 3} {
		s := &Spec{Proxies: 1, Devices: 30, Frame: 16, Mix: MixHome, ChangeEvery: every}
		p := &proxy{spec: s, frames: stream(s, 0), to: &session{framer: apiwire.NewPlain(nil)}}
		for range 6 * 2 { // a round has two frames
			if err := p.append(2); err != nil {
				t.Fatal(err)
			}
		}
		payloads := map[uint64]map[string]bool{}
		for in := apiwire.NewPlain(bytes.NewReader(p.buf)); ; {
			_, payload, err := in.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			var a apiwire.RawAdvert
			for {
				n, err := apiwire.DecodeRawAdvert(payload, &a)
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
				payload = payload[n:]
				if payloads[a.Address] == nil {
					payloads[a.Address] = map[string]bool{}
				}
				payloads[a.Address][string(a.Data)] = true
			}
		}
		for d := range s.Devices {
			n := want
			if d%10 != 5 {
				n = 1
			}
			if got := len(payloads[deviceAddress(s, d)]); got != n {
				t.Errorf("every %d: device %d has %d payloads in 6 rounds, want %d", every, d, got, n)
			}
		}
	}
}

// TestLatency: a subscriber of the proxy itself hears every frame.
func TestLatency(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := &Load{spec: Spec{Proxies: 1, Devices: 16, Frame: 16, Mix: MixSensors, ChangeEvery: 1}}
	p, err := newProxy(ctx, &l.spec, 0)
	if err != nil {
		t.Fatal(err)
	}
	l.proxies = []*proxy{p}
	served := make(chan struct{})
	go func() {
		defer close(served)
		p.serve()
	}()
	if a := l.do(ctx, Command{Do: "latency", Count: 20, Rate: 16_000}); a.Error != "" || a.Count != 20 || a.P50 <= 0 || a.P99 < a.P50 {
		t.Errorf("%+v", a)
	}
	if err := p.listener.Close(); err != nil {
		t.Fatal(err)
	}
	<-served
}
