package relay

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mac = "24:6F:28:00:00:01"

// script is a device: what it does once the handshake is over. It ends with its connection.
type script func(f *apiwire.Framer, say func(...proto.Message))

// device gives a Device whose sessions run the script, encrypted if there is a key.
func device(key *[32]byte, run script) Device {
	return Device{PSK: key, MAC: mac, Password: "secret", Dial: func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer func() { _ = far.Close() }()
			if run == nil {
				return
			}
			accept := func() (*apiwire.Framer, error) { return apiwire.ServerPlain(far) }
			if key != nil {
				noise := apiwire.ServerNoise{PSK: *key, Name: "d", MAC: "246f28000001"}
				accept = func() (*apiwire.Framer, error) { return apiwire.ServerHandshake(far, noise) }
			}
			framer, err := accept()
			if err != nil {
				return
			}
			run(framer, func(list ...proto.Message) {
				for _, m := range list {
					if out, err := framer.AppendMessage(nil, m); err == nil {
						_, _ = far.Write(out) // the other side may be gone
					}
				}
			})
		}()
		return near, nil
	}}
}

// greets answers hello and device info, notes the password, and then runs next for each message.
func greets(password *string, before []proto.Message, address string, next func(id apiwire.ID, say func(...proto.Message))) script {
	return func(f *apiwire.Framer, say func(...proto.Message)) {
		for {
			id, payload, err := f.Read()
			if err != nil {
				return
			}
			switch id {
			case apiwire.HelloRequest:
				say(&apipb.HelloResponse{ApiVersionMajor: 1, ApiVersionMinor: 19})
			case apiwire.AuthenticationRequest:
				m, _ := apiwire.Unmarshal(id, payload)
				if password != nil {
					*password = m.(*apipb.AuthenticationRequest).GetPassword()
				}
				say(before...)
			case apiwire.DeviceInfoRequest:
				say(&apipb.DeviceInfoResponse{MacAddress: address})
			default:
				next(id, say)
			}
		}
	}
}

func ignore(apiwire.ID, func(...proto.Message)) {}

func TestOpen(t *testing.T) {
	for _, tc := range []struct {
		name string
		run  script
		err  error
		text string
	}{
		{"no place", nil, ErrFull, "no further API client"},
		{"another device", greets(nil, nil, "24:6F:28:00:00:02", ignore), nil, "another device answers"},
		{"a wrong password", greets(nil, []proto.Message{&apipb.AuthenticationResponse{InvalidPassword: true}}, mac, ignore),
			ErrPassword, "compare password"},
		{"silent", func(f *apiwire.Framer, _ func(...proto.Message)) {
			for {
				if _, _, err := f.Read(); err != nil {
					return
				}
			}
		}, context.DeadlineExceeded, "cannot open"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := device(nil, tc.run).Open(t.Context(), Hello{Name: "host"})
				if err == nil || tc.err != nil && !errors.Is(err, tc.err) || !strings.Contains(err.Error(), tc.text) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// What comes before the session is open is passed on, the password is the device's, and a goodbye is said at the end.
func TestSession(t *testing.T) {
	for name, key := range map[string]*[32]byte{"plain": nil, "encrypted": {1, 2, 3}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var password string
				got := make(chan apiwire.ID, 10)
				d := device(key, greets(&password, []proto.Message{&apipb.AuthenticationResponse{}, &apipb.GetTimeRequest{}}, mac,
					func(id apiwire.ID, _ func(...proto.Message)) { got <- id }))
				s, err := d.Open(t.Context(), Hello{Name: "host", Major: 1, Minor: 14})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var heard []apiwire.ID
				ended := make(chan error)
				go func() {
					ended <- s.Run(ctx, func(_ context.Context, list []Message) error {
						for _, m := range list {
							heard = append(heard, m.ID)
						}
						return nil
					})
				}()
				if err := s.Send(4000, []byte{1}); err != nil {
					t.Fatal(err)
				}
				if id := <-got; id != 4000 || password != "secret" {
					t.Errorf("the device got %v and the password %q", id, password)
				}
				synctest.Wait()
				cancel()
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Errorf("ended with %v", err)
				}
				if id := <-got; id != apiwire.DisconnectRequest {
					t.Errorf("the device got %v instead of a goodbye", id)
				}
				if len(heard) != 1 || heard[0] != apiwire.GetTimeRequest {
					t.Errorf("the host got %v", heard)
				}
				if err := s.Send(4000, nil); err == nil {
					t.Error("a message was taken after the end")
				}
			})
		})
	}
}

// A device that no longer answers pings ends the session after a minute.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pings := 0
		d := device(nil, greets(nil, nil, mac, func(_ apiwire.ID, say func(...proto.Message)) {
			pings++
			if pings < 3 {
				say(&apipb.PingResponse{})
			}
		}))
		s, err := d.Open(t.Context(), Hello{})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		err = s.Run(t.Context(), func(context.Context, []Message) error { return nil })
		if d := time.Since(begun); !errors.Is(err, ErrSilent) || d < deadAfter+pingAfter || d > 2*deadAfter {
			t.Errorf("ended after %v with %v", d, err)
		}
	})
}
