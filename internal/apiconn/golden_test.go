package apiconn

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
)

type goldenStep struct {
	Step  string     `json:"step"`
	Dir   string     `json:"dir"`
	ID    apiwire.ID `json:"id"`
	Frame string     `json:"frame_hex"`
}

func loadVectors(t *testing.T, into any) {
	t.Helper()
	data, err := os.ReadFile("../testdata/esphome-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// TestGoldenSession replays a session that was captured between ESPHome's own
// client and a device: every frame of ours must be the same, in the same order.
func TestGoldenSession(t *testing.T) {
	var v struct {
		Golden struct{ Steps []goldenStep } `json:"golden_session_bleak_esphome"`
	}
	loadVectors(t, &v)
	// We send 3 together with 1, as the firmware allows.
	steps := v.Golden.Steps
	if steps[2].ID != apiwire.HelloResponse || steps[3].ID != apiwire.AuthenticationRequest {
		t.Fatal("the recording begins differently")
	}
	steps[2], steps[3] = steps[3], steps[2]
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) {
			c.ClientInfo, c.OnConflict = "golden", Retake // that client does not ask whose the proxy is
		})
		frames := 0
		far := result(func() (struct{}, error) {
			p := b.accept()
			for _, s := range steps {
				switch s.Dir {
				case "client->server":
					frames++
					id, payload, err := p.f.Read()
					if err != nil {
						t.Errorf("want %v, got %v", s.ID, err)
						return struct{}{}, err
					}
					got, _ := apiwire.NewPlain(nil).Append(nil, id, payload)
					if hex.EncodeToString(got) != s.Frame {
						t.Errorf("frame %x, want %s (%v)", got, s.Frame, s.ID)
					}
				case "server->client":
					frames++
					p.raw(s.Frame)
				}
			}
			return struct{}{}, nil
		})
		ctx := t.Context()
		calls := goldenCalls(b.p)
		for _, s := range steps {
			if s.Step == "" {
				continue
			}
			call, ok := calls[s.Step]
			if !ok {
				t.Fatalf("no call for step %q", s.Step)
			}
			if err := call(ctx); err != nil {
				t.Errorf("%s: %v", s.Step, err)
			}
		}
		_, _ = far()
		events := b.rec.take()
		want := []string{
			"online office-proxy", "slots 3/3 []", "scanner 2 active active",
			"advert AA:BB:CC:DD:EE:FF random -60 02010607095468726d6f03030f18",
			"slots 2/3 [AA:BB:CC:DD:EE:FF]", "up AA:BB:CC:DD:EE:FF 247", "slots 2/3 [AA:BB:CC:DD:EE:FF]",
			"notify AA:BB:CC:DD:EE:FF 0xe 63", "down AA:BB:CC:DD:EE:FF 0x16", "slots 3/3 []",
		}
		if len(events) > len(want) {
			events = events[:len(want)]
		}
		if d := cmp.Diff(want, events); d != "" {
			t.Errorf("events (-want +got):\n%s", d)
		}
		t.Logf("replayed %d frames of the golden session", frames)
	})
}

// goldenCalls are our calls for the steps of the recording.
func goldenCalls(p *Proxy) map[string]func(context.Context) error {
	const handle, cccd = 0x0e, 0x0f
	nothing := func(context.Context) error { return nil }
	connect := func(cached bool) func(context.Context) error {
		return func(ctx context.Context) error {
			if _, err := p.connect(ctx, testAddr, ble.Random, cached, false); err != nil || cached {
				return err
			}
			_, err := p.Services(ctx, testAddr)
			return err
		}
	}
	return map[string]func(context.Context) error{
		"connect(login=True)":            p.Start,
		"device_info":                    nothing,
		"connect_scanner":                nothing,
		"client.connect (no cache)":      connect(false),
		"client.connect (cache cleared)": connect(false),
		"client.connect (cached)":        connect(true),
		"read": func(ctx context.Context) error {
			_, err := p.Read(ctx, testAddr, handle)
			return err
		},
		"write response":    func(ctx context.Context) error { return p.Write(ctx, testAddr, handle, []byte{1}, true) },
		"write no response": func(ctx context.Context) error { return p.Write(ctx, testAddr, handle, []byte{2}, false) },
		"start_notify": func(ctx context.Context) error {
			if err := p.Notify(ctx, testAddr, handle, true); err != nil {
				return err
			}
			return p.WriteDescriptor(ctx, testAddr, cccd, []byte{1, 0})
		},
		"stop_notify": func(ctx context.Context) error { return p.Notify(ctx, testAddr, handle, false) },
		"pair":        func(ctx context.Context) error { return p.Pair(ctx, testAddr) },
		"unpair":      func(ctx context.Context) error { return p.Unpair(ctx, testAddr) },
		"set_connection_params": func(ctx context.Context) error {
			return p.SetConnectionParams(ctx, testAddr, ble.ConnectionParams{MinInterval: 800, MaxInterval: 800, Timeout: 600})
		},
		"clear_cache": func(ctx context.Context) error { return p.ClearCache(ctx, testAddr) },
		"disconnect":  func(ctx context.Context) error { return p.Disconnect(ctx, testAddr) },
		"async_request_active_window(0.1)": func(ctx context.Context) error {
			if err := p.SetScannerMode(ctx, ble.ScanActive); err != nil {
				return err
			}
			return p.SetScannerMode(ctx, ble.ScanActive) // the recording restores "active"
		},
		"client disconnect": func(context.Context) error { p.Stop(); return nil },
	}
}

func TestVectorFeatureFlags(t *testing.T) {
	t.Parallel()
	var v struct {
		Cases []struct {
			Legacy uint32    `json:"legacy_version"`
			API    [2]uint32 `json:"api"`
			Field  uint32    `json:"feature_flags_field"`
			Flags  uint32    `json:"flags"`
		} `json:"feature_flags_compat"`
	}
	loadVectors(t, &v)
	for _, c := range v.Cases {
		if got := features(c.API[0], c.API[1], c.Legacy, c.Field); got != ble.Features(c.Flags) {
			t.Errorf("%+v gives %#x", c, uint32(got))
		}
	}
	t.Logf("covered %d feature flag vectors", len(v.Cases))
}

func TestVectorUUIDs(t *testing.T) {
	t.Parallel()
	var v struct {
		UUID struct {
			Halves []struct {
				UUID      ble.UUID
				High, Low uint64
			}
		}
		GATT map[int32]string `json:"gatt_errors"`
	}
	loadVectors(t, &v)
	for _, c := range v.UUID.Halves {
		if got := wireToUUID([]uint64{c.High, c.Low}, 0); got != c.UUID {
			t.Errorf("halves give %v, want %v", got, c.UUID)
		}
	}
	if got := wireToUUID([]uint64{1, 2}, 0x180f); got != ble.UUID16(0x180f) {
		t.Errorf("the short form must have precedence: %v", got)
	}
	if got := wireToUUID([]uint64{1}, 0); got != ble.UUIDFromHalves(1, 0) || wireToUUID(nil, 0) != (ble.UUID{}) {
		t.Errorf("short lists: %v", got)
	}
	for code := range v.GATT {
		err := codeError(code)
		if att, ok := err.(ble.ATTError); code > 0 && (!ok || int32(att) != code) || code == -1 && err != ble.ErrNotConnected {
			t.Errorf("code %d gives %v", code, err)
		}
	}
	t.Logf("covered %d UUIDs and %d GATT errors", len(v.UUID.Halves), len(v.GATT))
}

func TestReconnectDelays(t *testing.T) {
	t.Parallel()
	var v struct {
		Table struct {
			Tries []int `json:"tries_0_to_10"`
		} `json:"reconnect_backoff_seconds"`
	}
	loadVectors(t, &v)
	p, err := New(Config{Address: "192.0.2.1", Handler: new(recorder)})
	if err != nil {
		t.Fatal(err)
	}
	for n, reference := range v.Table.Tries {
		d := p.delay(n, &ClosedError{})
		// Ours begins at 1 s, is not rounded and is spread by up to a fifth downwards.
		if d.Seconds() > float64(reference)+1 || d.Seconds() < 0.7*float64(reference)-1 {
			t.Errorf("failure %d: %v, ESPHome's client waits %d s", n, d, reference)
		}
	}
	p.info.DeepSleep = true
	if d := p.delay(10, &ClosedError{}); d > deepSleepRetry {
		t.Errorf("a sleepy device waits %v", d)
	}
	if d := p.delay(0, &PasswordError{}); d < slowRetry*8/10 {
		t.Errorf("a wrong password waits %v", d)
	}
	t.Logf("compared %d delays", len(v.Table.Tries))
}
