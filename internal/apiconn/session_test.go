package apiconn

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		far := b.online()
		begun := time.Now()
		want[*apipb.PingRequest](far)
		if d := time.Since(begun); d != 10*time.Second {
			t.Errorf("pinged after %v", d)
		}
		far.send(&apipb.PingResponse{})
		answered := time.Now()
		want[*apipb.PingRequest](far)
		if d := time.Since(answered); d != 10*time.Second {
			t.Errorf("pinged again after %v", d)
		}
		for err := error(nil); err == nil; {
			_, _, err = far.f.Read()
			if err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("want the end, got %v", err)
			}
		}
		if d := time.Since(answered); d != 20*time.Second {
			t.Errorf("gave up after %v", d)
		}
		synctest.Wait()
		if b.p.State() != StateOffline || !strings.Contains(b.p.LastError(), "nothing was heard") {
			t.Errorf("state %v, %q", b.p.State(), b.p.LastError())
		}
		again := b.accept()
		if d := time.Since(answered); d > 21*time.Second {
			t.Errorf("came back after %v", d)
		}
		again.bringUp()
		synctest.Wait()
		if b.p.State() != StateOnline || b.p.LastError() != "" {
			t.Errorf("state %v, %q", b.p.State(), b.p.LastError())
		}
		b.stop(again)
	})
}

func TestAnswersToTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		far := b.online()
		far.send(&apipb.PingRequest{}, &apipb.GetTimeRequest{})
		want[*apipb.PingResponse](far)
		if m := want[*apipb.GetTimeResponse](far); int64(m.GetEpochSeconds()) != time.Now().Unix() || m.GetTimezone() != "" || m.ParsedTimezone != nil {
			t.Errorf("time %v", m)
		}
		far.raw("0002ac020801")      // an unknown message
		far.raw("000301" + "ffffff") // one that cannot be decoded
		far.send(&apipb.PingRequest{})
		want[*apipb.PingResponse](far)
		begun := time.Now()
		far.send(&apipb.DisconnectRequest{})
		want[*apipb.DisconnectResponse](far)
		_ = far.conn.Close()
		synctest.Wait()
		b.expectEvents("offline " + (&PeerDisconnectError{}).Error())
		again := b.accept()
		if d := time.Since(begun); d < 4*time.Second || d > 6*time.Second {
			t.Errorf("came back after %v, want about 5 s", d)
		}
		_ = again.conn.Close()
		b.p.Stop()
	})
}

func TestStartStop(t *testing.T) {
	t.Run("stop during start", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, nil)
			b.fail = func() error { return errors.New("refused") }
			started := only(func() error { return b.p.Start(t.Context()) })
			synctest.Wait()
			b.p.Stop()
			wantError(t, started(), ErrStopped)
			wantError(t, b.p.Start(t.Context()), ErrStopped)
		})
	})
	t.Run("stop during bring-up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, nil)
			started := only(func() error { return b.p.Start(t.Context()) })
			far := b.accept()
			far.read()
			b.p.Stop()
			wantError(t, started(), ErrStopped)
			b.expectEvents()
			_ = far.conn.Close()
		})
	})
	t.Run("second start", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, nil)
			far := b.online()
			wantError(t, b.p.Start(t.Context()), ErrStarted)
			wantError(t, b.p.Run(t.Context()), ErrStarted)
			b.stop(far)
			b.expectEvents("offline asked to stop")
			b.p.Stop()
		})
	})
	t.Run("mute device", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, nil)
			far := b.online()
			begun := time.Now()
			stopped := only(func() error { b.p.Stop(); return nil })
			want[*apipb.DisconnectRequest](far)
			_ = stopped()
			if d := time.Since(begun); d != leaveTimeout {
				t.Errorf("stopped after %v", d)
			}
		})
	})
	t.Run("stop before start", func(t *testing.T) {
		b := newBench(t, nil)
		b.p.Stop()
		wantError(t, b.p.Start(t.Context()), ErrStopped)
	})
}

func TestFailureIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		dials := 0
		b.fail = func() error { dials++; return errors.New("connection refused") }
		started := only(func() error { return b.p.Start(t.Context()) })
		<-time.After(10 * time.Minute) // fake: lets the pauses grow
		synctest.Wait()
		if dials < 10 || dials > 25 {
			t.Errorf("%d attempts in 10 minutes", dials)
		}
		b.p.Stop()
		wantError(t, started(), ErrStopped)
		if n := strings.Count(b.log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, b.log)
		}
		if !strings.Contains(b.log.String(), "check that the device is powered") {
			t.Errorf("no remedy in %s", b.log)
		}
	})
}

func TestAuthFailuresAreSlow(t *testing.T) {
	key := [32]byte{7, 7, 7}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.PSK = &key })
		started := only(func() error { return b.p.Start(t.Context()) })
		for i := range 3 {
			conn := <-b.dials
			begun := time.Now()
			if _, err := apiwire.ServerHandshake(conn, apiwire.ServerNoise{PSK: [32]byte{8}, Name: "cellar", MAC: "aabbccddee02"}); err == nil {
				t.Fatal("the wrong key was accepted")
			}
			_ = conn.Close()
			synctest.Wait()
			if b.p.State() != StateAuthFailed || !strings.Contains(b.p.LastError(), "cellar") {
				t.Errorf("state %v, %q", b.p.State(), b.p.LastError())
			}
			if i < 2 {
				select {
				case b2 := <-b.dials:
					if d := time.Since(begun); d < 48*time.Second {
						t.Errorf("tried again after %v", d)
					}
					_ = b2.Close() // another failure
				case <-time.After(2 * time.Minute):
					t.Fatal("did not try again")
				}
			}
		}
		b.p.Stop()
		wantError(t, started(), ErrStopped)
		if strings.Contains(b.log.String(), "[7 7 7") || strings.Contains(b.log.String(), "BwcH") {
			t.Error("the key is in the log")
		}
	})
}

func TestEncryptedSession(t *testing.T) {
	key := [32]byte{7}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.PSK, c.ExpectMAC, c.ExpectName = &key, "AA:BB:CC:DD:EE:01", "kitchen" })
		started := only(func() error { return b.p.Start(t.Context()) })
		conn := <-b.dials
		f, err := apiwire.ServerHandshake(conn, apiwire.ServerNoise{PSK: key, Name: "kitchen", MAC: "aabbccddee01"})
		if err != nil {
			t.Fatal(err)
		}
		far := &peer{t: t, conn: conn, f: f}
		far.bringUp()
		if err := started(); err != nil || !b.p.Info().Encrypted {
			t.Errorf("started with %v, %+v", err, b.p.Info())
		}
		b.stop(far)
	})
}

func TestBringUpFailures(t *testing.T) {
	cases := []struct {
		name   string
		change func(*Config)
		serve  func(p *peer)
		want   string
		state  State
	}{
		{"closed at once", nil, func(p *peer) { p.read(); p.read() }, "too many API clients", StateOffline},
		{"needs encryption", nil, func(p *peer) { p.read(); p.raw("010013") }, "requires encryption", StateAuthFailed},
		{"wrong name", func(c *Config) { c.ExpectName = "cellar" }, func(p *peer) {
			p.read()
			p.read()
			p.send(&apipb.HelloResponse{ApiVersionMajor: 1, Name: "evil\n"})
		}, "belongs to evil?", StateOffline},
		{"wrong MAC", func(c *Config) { c.ExpectMAC = "aabbccddee99" }, func(p *peer) { p.hello(deviceInfo()) }, "belongs to the device with MAC AA:BB:CC:DD:EE:01", StateOffline},
		{"new API", nil, func(p *peer) { p.read(); p.read(); p.send(&apipb.HelloResponse{ApiVersionMajor: 3}) }, "API 3.0", StateOffline},
		{"wrong password", func(c *Config) { c.Password = "s3cret" }, func(p *peer) {
			p.read()
			if m := want[*apipb.AuthenticationRequest](p); m.GetPassword() != "s3cret" {
				p.t.Errorf("password %q", m.GetPassword())
			}
			p.send(&apipb.HelloResponse{ApiVersionMajor: 1, ApiVersionMinor: 9, Name: "kitchen"}, &apipb.AuthenticationResponse{InvalidPassword: true})
		}, "refused the API password", StateAuthFailed},
		{"no answer", nil, func(p *peer) {
			p.read()
			p.read()
			_, _, _ = p.f.Read() // until the other side gives up
		}, "did not answer HelloRequest", StateOffline},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, c.change)
				started := only(func() error { return b.p.Start(t.Context()) })
				far := b.accept()
				c.serve(far)
				synctest.Wait()
				_ = far.conn.Close()
				synctest.Wait()
				if b.p.State() != c.state || !strings.Contains(b.p.LastError(), c.want) {
					t.Errorf("state %v, %q, want %v, %q", b.p.State(), b.p.LastError(), c.state, c.want)
				}
				b.p.Stop()
				wantError(t, started(), ErrStopped)
				b.expectEvents()
				if strings.Contains(b.log.String(), "s3cret") {
					t.Error("the password is in the log")
				}
			})
		})
	}
}

// TestConflictYields: a proxy that another host uses is left to it; at first it is looked at again soon, since the
// links may be those of a run of ours that was killed.
func TestConflictYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		started := only(func() error { return b.p.Start(t.Context()) })
		for n := range leftoverTries + 1 {
			begun := time.Now()
			far := b.accept()
			if d := time.Since(begun); n > 0 && d > 10*time.Second {
				t.Errorf("attempt %d after %v", n, d)
			}
			far.hello(deviceInfo())
			want[*apipb.SubscribeBluetoothConnectionsFreeRequest](far)
			far.send(freeSlots(0x112233445566))
			want[*apipb.DisconnectRequest](far) // and no subscription
			far.send(&apipb.DisconnectResponse{})
			synctest.Wait()
			if b.p.State() != StateDisplaced || !strings.Contains(b.p.LastError(), "11:22:33:44:55:66") {
				t.Errorf("state %v, %q", b.p.State(), b.p.LastError())
			}
		}
		begun := time.Now()
		again := b.accept()
		if d := time.Since(begun); d < 48*time.Second {
			t.Errorf("tried again after %v", d)
		}
		again.bringUp()
		if err := started(); err != nil {
			t.Error(err)
		}
		b.stop(again)
	})
}

func TestOwnSlotIsNoConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		far := b.online()
		b.connect(far)
		_ = far.conn.Close() // the device does not notice yet
		again := b.accept()
		again.hello(deviceInfo())
		again.read()
		again.send(freeSlots(wireAddr))
		want[*apipb.SubscribeBluetoothLEAdvertisementsRequest](again)
		synctest.Wait()
		if s := b.p.Slots(); !s.HasAllocated || len(s.Allocated) != 1 || s.Free != 2 {
			t.Errorf("slots %+v", s)
		}
		b.stop(again)
	})
}

func TestSubscriptionProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		started := only(func() error { return b.p.Start(t.Context()) })
		far := b.accept()
		far.hello(deviceInfo())
		far.read()
		far.send(freeSlots())
		far.read()
		begun := time.Now()
		if err := started(); err != nil {
			t.Fatal(err)
		}
		var at []time.Duration
		for len(at) < 3 {
			switch far.read().(type) {
			case *apipb.PingRequest:
				far.send(&apipb.PingResponse{})
			case *apipb.SubscribeBluetoothLEAdvertisementsRequest:
				at = append(at, time.Since(begun))
			}
		}
		if at[0] != 10*time.Second || at[1] != 30*time.Second || at[2] != 90*time.Second {
			t.Errorf("subscribed again after %v", at)
		}
		if b.p.State() != StateDisplaced {
			t.Errorf("state %v", b.p.State())
		}
		_, err := b.p.Connect(t.Context(), testAddr, ble.Public, false)
		wantError(t, err, ble.ErrNotConnected)
		far.send(&apipb.BluetoothScannerStateResponse{State: 2})
		synctest.Wait()
		if b.p.State() != StateOnline {
			t.Errorf("state %v after the proof", b.p.State())
		}
		b.stop(far)
	})
}

func TestDeaf(t *testing.T) {
	for name, policy := range map[string]OnConflict{"yield": Yield, "retake": Retake} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(c *Config) { c.OnConflict = policy })
				far := b.online()
				advert := &apipb.BluetoothLERawAdvertisementsResponse{Advertisements: []*apipb.BluetoothLERawAdvertisement{{Address: 1}}}
				far.send(advert)
				begun := time.Now()
				resubscribed := 0
				for time.Since(begun) < 100*time.Second {
					switch far.read().(type) {
					case *apipb.PingRequest:
						far.send(&apipb.PingResponse{})
					case *apipb.SubscribeBluetoothLEAdvertisementsRequest:
						resubscribed++
					}
				}
				if b.p.State() != StateDeaf || (resubscribed > 0) != (policy == Retake) {
					t.Errorf("state %v, subscribed again %d times", b.p.State(), resubscribed)
				}
				far.send(advert)
				synctest.Wait()
				if b.p.State() != StateOnline {
					t.Errorf("state %v after an advert", b.p.State())
				}
				b.stop(far)
			})
		})
	}
}

func TestScanModeIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		far := b.online()
		if err := b.p.SetScannerMode(t.Context(), ble.ScanActive); err != nil {
			t.Fatal(err)
		}
		if m := want[*apipb.BluetoothScannerSetModeRequest](far); m.GetMode() != 1 {
			t.Errorf("asked for %v", m)
		}
		far.send(&apipb.BluetoothScannerStateResponse{State: 2, Mode: 1})
		_ = far.conn.Close()
		again := b.accept() // restarted: its mode is the configured one
		again.bringUp()
		if m := want[*apipb.BluetoothScannerSetModeRequest](again); m.GetMode() != 1 {
			t.Errorf("asked for %v in the new session", m)
		}
		stopped := only(func() error { b.p.Stop(); return nil })
		if m := want[*apipb.BluetoothScannerSetModeRequest](again); m.GetMode() != 0 {
			t.Errorf("left it in %v", m)
		}
		want[*apipb.DisconnectRequest](again)
		again.send(&apipb.DisconnectResponse{})
		_ = stopped()
	})
}

func TestCapabilitiesReplaceFlags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		started := only(func() error { return b.p.Start(t.Context()) })
		far := b.accept()
		info := deviceInfo()
		info.BluetoothProxyFeatureFlags, info.BluetoothMacAddress = 0, ""
		far.hello(info)
		want[*apipb.DeviceCapabilitiesRequest](far)
		far.send(&apipb.DeviceCapabilitiesResponse{BluetoothProxy: &apipb.BluetoothProxyCapabilities{FeatureFlags: 0x21, MacAddress: "AA:BB:CC:DD:EE:03"}})
		far.read()
		if err := started(); err != nil {
			t.Fatal(err)
		}
		if i := b.p.Info(); i.Features != 0x21 || i.BluetoothMAC != "AA:BB:CC:DD:EE:03" || b.p.Name() != "kitchen" {
			t.Errorf("learnt %+v", i)
		}
		b.stop(far)
	})
}

func TestSplitAddress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"kitchen.local.": "kitchen.local.:6053", "kitchen": "kitchen:6053", "host:7000": "host:7000", "192.0.2.1": "192.0.2.1:6053",
		"192.0.2.1:1": "192.0.2.1:1", "::1": "[::1]:6053", "[fe80::1%eth0]:99": "[fe80::1%eth0]:99", "[::1]": "[::1]:6053",
		"": "", "host:": "", "host:0": "", "host:70000": "", ":6053": "", "a b": "", "http://x": "", "[x]": "", "1:2:3": "",
	} {
		host, port, err := SplitAddress(in)
		got := ""
		if err == nil {
			got = net.JoinHostPort(host, itoa(port))
		}
		if got != want {
			t.Errorf("%q gives %q (%v), want %q", in, got, err, want)
		}
	}
}

func TestRunLeavesPolitely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		run := only(func() error { return b.p.Run(ctx) })
		far := b.accept()
		far.bringUp()
		synctest.Wait()
		cancel()
		want[*apipb.DisconnectRequest](far)
		far.send(&apipb.DisconnectResponse{})
		if err := run(); err != nil {
			t.Error(err)
		}
	})
}
