package apiconn

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// open makes a session over a pipe as a caller who manages it does.
func openPipe(t *testing.T, rec *recorder) (func() (*Session, error), *peer) {
	t.Helper()
	near, far := net.Pipe()
	wait := result(func() (*Session, error) { return Open(t.Context(), near, Config{Handler: rec, ClientInfo: "test"}) })
	return wait, &peer{t: t, conn: far, f: apiwire.NewPlain(far)}
}

func TestCallerManaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		wait, far := openPipe(t, &rec)
		far.hello(deviceInfo())
		far.read()
		far.send(freeSlots())
		s, err := wait()
		if err != nil {
			t.Fatal(err)
		}
		if s.Info().Name != "kitchen" || s.Proxy().Online() {
			t.Errorf("info %+v, online %v before Run", s.Info(), s.Proxy().Online())
		}
		// Callbacks run over a snapshot: the first removes the second and adds a third.
		var calls []string
		note := func(name string) func(error) { return func(error) { calls = append(calls, name) } }
		var removeSecond func()
		s.Proxy().OnLost(func(err error) {
			calls = append(calls, "first")
			removeSecond()
			s.Proxy().OnLost(note("third"))
		})
		removeSecond = s.Proxy().OnLost(note("second"))
		s.Proxy().OnLost(note("never"))()

		ran := only(func() error { return s.Run(t.Context()) })
		want[*apipb.SubscribeBluetoothLEAdvertisementsRequest](far)
		far.send(&apipb.BluetoothScannerStateResponse{State: 2}, heard())
		synctest.Wait()
		if !s.Proxy().Online() || s.Proxy().State() != StateOnline {
			t.Errorf("state %v", s.Proxy().State())
		}
		connect := result(func() (int, error) { return s.Proxy().Connect(t.Context(), testAddr, ble.Public, false) })
		far.read()
		far.send(&apipb.BluetoothDeviceConnectionResponse{Address: wireAddr, Connected: true, Mtu: 100})
		if mtu, err := connect(); err != nil || mtu != 100 {
			t.Errorf("%d %v", mtu, err)
		}
		_ = far.conn.Close()
		var lost *ClosedError
		if err := ran(); !errors.As(err, &lost) {
			t.Errorf("it ended with %v", err)
		}
		if !slices.Equal(calls, []string{"first", "second"}) {
			t.Errorf("called %q", calls)
		}
		if events := rec.take(); !strings.HasPrefix(events[0], "online") || !strings.HasPrefix(events[len(events)-1], "offline") {
			t.Errorf("events %q", events)
		}
	})
}

func TestCallerManagedEnds(t *testing.T) {
	t.Run("bad device", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			wait, far := openPipe(t, new(recorder))
			far.read()
			far.raw("010013")
			if _, err := wait(); !apiwire.AuthFailure(err) {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("closed before Run", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			wait, far := openPipe(t, new(recorder))
			far.hello(deviceInfo())
			far.read()
			far.send(freeSlots())
			s, err := wait()
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
		})
	})
	t.Run("stopped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			wait, far := openPipe(t, new(recorder))
			far.hello(deviceInfo())
			far.read()
			far.send(freeSlots())
			s, err := wait()
			if err != nil {
				t.Fatal(err)
			}
			ran := only(func() error { return s.Run(t.Context()) })
			far.read()
			stopped := only(func() error { s.Proxy().Stop(); return nil })
			want[*apipb.DisconnectRequest](far)
			far.send(&apipb.DisconnectResponse{})
			_ = stopped()
			wantError(t, ran(), ErrStopped)
		})
	})
}

// TestSilentBringUp: the device accepts and then says nothing.
func TestSilentBringUp(t *testing.T) {
	for name, key := range map[string]*[32]byte{"plaintext": nil, "noise": {1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(c *Config) { c.PSK = key })
				started := only(func() error { return b.p.Start(t.Context()) })
				far := b.accept()
				go func() {
					buf := make([]byte, 1000)
					for {
						if _, err := far.conn.Read(buf); err != nil {
							return
						}
					}
				}()
				begun := time.Now()
				next := b.accept()
				if d := time.Since(begun); d > 21*time.Second+time.Second {
					t.Errorf("tried again after %v", d)
				}
				var silent *NoAnswerError
				b.p.mu.Lock()
				err := b.p.lastErr
				b.p.mu.Unlock()
				if !errors.As(err, &silent) {
					t.Errorf("error %v", err)
				}
				_ = next.conn.Close()
				b.p.Stop()
				wantError(t, started(), ErrStopped)
			})
		})
	}
}
