package proxysim

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
)

func TestFact12AKeyIsSet(t *testing.T) {
	key := [32]byte{9, 8, 7, 31: 1}
	text := []byte(base64.StdEncoding.EncodeToString(key[:]))
	for _, over := range []struct {
		name string
		key  *[32]byte
	}{{"plaintext", nil}, {"the key of zeros", new([32]byte)}} {
		t.Run(over.name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				p := w.proxy(ProxyConfig{Access: Access{Unprovisioned: true}})
				c, err := w.dialRaw(p, over.key)
				if err != nil {
					t.Fatal(err)
				}
				c.sendMessage(&apipb.DeviceInfoRequest{})
				var info apipb.DeviceInfoResponse
				if err := proto.Unmarshal(c.next(apiwire.DeviceInfoResponse), &info); err != nil || !info.ApiEncryptionProvisionable || !info.ApiEncryptionSupported {
					t.Errorf("%v, %v", &info, err)
				}
				set := func(key []byte) bool {
					c.sendMessage(&apipb.NoiseEncryptionSetKeyRequest{Key: key})
					return parseFields(c.next(apiwire.NoiseEncryptionSetKeyResponse))[1] == 1
				}
				for _, bad := range [][]byte{key[:], []byte("AAAA"), []byte(strings.Repeat("A", 43) + "=")} {
					if set(bad) {
						t.Errorf("key %q was taken", bad)
					}
				}
				if !set(text) {
					t.Fatal("the key was refused")
				}
				if reason := parseFields(c.next(apiwire.DisconnectRequest))[1]; reason != 0 {
					t.Errorf("reason %d", reason)
				}
				c.send(apiwire.DisconnectResponse, nil)
				if !c.ended() {
					t.Error("the session lives on")
				}
				// From now on only the key gets in, after a restart, too.
				p.Restart(0)
				if plain, err := w.dialRaw(p, nil); err == nil && !plain.ended() {
					t.Error("plaintext was taken")
				}
				var rejected *apiwire.InvalidKeyError
				if _, err := w.dialRaw(p, new([32]byte)); !errors.As(err, &rejected) {
					t.Errorf("the key of zeros: %v", err)
				}
				c, err = w.dialRaw(p, &key)
				if err != nil {
					t.Fatal(err)
				}
				if !set(nil) { // none clears it
					t.Error("the key cannot be cleared")
				}
				c.next(apiwire.DisconnectRequest)
				_ = c.conn.Close()
				if p.Key() != nil {
					t.Error("the key is still there")
				}
			})
		})
	}
	t.Run("before 2026.8", func(t *testing.T) {
		inWorld(t, nil, func(w *world) {
			p := w.proxy(ProxyConfig{Access: Access{Unprovisioned: true}, Version: "2026.6.5"})
			var plain *apiwire.PlaintextDeviceError
			if _, err := w.dialRaw(p, new([32]byte)); !errors.As(err, &plain) {
				t.Errorf("Noise without a key: %v", err)
			}
			c, _ := w.dialRaw(p, nil)
			c.send(apiwire.DeviceInfoRequest, nil)
			var info apipb.DeviceInfoResponse
			if err := proto.Unmarshal(c.next(apiwire.DeviceInfoResponse), &info); err != nil || info.ApiEncryptionProvisionable || !info.ApiEncryptionSupported {
				t.Errorf("%v, %v", &info, err)
			}
			c.sendMessage(&apipb.NoiseEncryptionSetKeyRequest{Key: text})
			if parseFields(c.next(apiwire.NoiseEncryptionSetKeyResponse))[1] != 1 {
				t.Error("the key was refused")
			}
			_ = c.conn.Close()
		})
	})
	t.Run("a key of the configuration stays", func(t *testing.T) {
		inWorld(t, nil, func(w *world) {
			c, err := w.dialRaw(w.proxy(ProxyConfig{Access: Access{PSK: &key}}), &key)
			if err != nil {
				t.Fatal(err)
			}
			c.sendMessage(&apipb.NoiseEncryptionSetKeyRequest{Key: text})
			if parseFields(c.next(apiwire.NoiseEncryptionSetKeyResponse))[1] != 0 {
				t.Error("it was replaced")
			}
			_ = c.conn.Close()
		})
	})
}

func TestFact12ProvisioningClosed(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := w.proxy(ProxyConfig{Access: Access{Unprovisioned: true, ProvisioningWindow: 5 * time.Minute}})
		early, _ := w.dialRaw(p, nil)
		early.next(apiwire.HelloResponse)
		for range 6 { // minutes: who is there already stays
			early.next(apiwire.PingRequest)
			early.send(apiwire.PingResponse, nil)
		}
		late, _ := w.dialRaw(p, nil)
		late.send(apiwire.DeviceInfoRequest, nil) // not answered
		late.next(apiwire.HelloResponse)
		if reason := parseFields(late.next(apiwire.DisconnectRequest))[1]; reason != uint64(apiserver.ReasonProvisioningClosed) {
			t.Errorf("reason %d", reason)
		}
		late.send(apiwire.DisconnectResponse, nil)
		if !late.ended() {
			t.Error("the session lives on")
		}
		_ = early.conn.Close()
		p.Restart(0) // opens the window anew
		c, _ := w.dialRaw(p, nil)
		c.send(apiwire.DeviceInfoRequest, nil)
		c.next(apiwire.DeviceInfoResponse)
		_ = c.conn.Close()
	})
}

func TestFact13Profiles(t *testing.T) {
	for profile, want := range map[string]string{
		"esp32":         "esp32dev 0xff 3",
		"rp2040":        "rpipicow 0xef 1",
		"ln882h":        "generic-ln882hki 0x21 0",
		"passive-radio": "esp32dev 0xff 3",
		"sleeper":       "esp32dev 0xff 3 sleeps",
		"device":        "esp32dev 0xff 3 in Living Room of bluez-esphome.climate-node 1.2.0",
	} {
		t.Run(profile, func(t *testing.T) {
			spec, err := ParseProxySpec("kitchen=127.0.0.1:0,profile=" + profile)
			if err != nil {
				t.Fatal(err)
			}
			inWorld(t, nil, func(w *world) {
				p := w.proxy(spec.ProxyConfig)
				c, _ := w.dialRaw(p, nil)
				c.send(apiwire.DeviceInfoRequest, nil)
				for len(c.msgs) == 0 {
					<-time.After(time.Millisecond)
				}
				if p.cfg.AskTime {
					c.next(apiwire.GetTimeRequest)
				}
				var info apipb.DeviceInfoResponse
				if err := proto.Unmarshal(c.next(apiwire.DeviceInfoResponse), &info); err != nil {
					t.Fatal(err)
				}
				got := fmt.Sprintf("%s %#x %d", info.Model, info.BluetoothProxyFeatureFlags, p.Slots().Limit)
				if info.HasDeepSleep {
					got += " sleeps"
				}
				if info.SuggestedArea != "" {
					got += " in " + info.SuggestedArea + " of " + info.ProjectName + " " + info.ProjectVersion
				}
				if got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				_ = c.conn.Close()
			})
		})
	}
}

func TestFact13OneSlotAndNone(t *testing.T) {
	specs := goldenSpecs(t)
	second := specs[0]
	second.ID, second.Address = "second", 0x00AA01010002
	for profile, connects := range map[string]bool{"rp2040": true, "ln882h": false} {
		spec, err := ParseProxySpec("kitchen=127.0.0.1:0,profile=" + profile)
		if err != nil {
			t.Fatal(err)
		}
		inWorld(t, append(specs, second), func(w *world) {
			c := w.dial(w.proxy(spec.ProxyConfig))
			c.send(&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1})
			w.settle()
			drain(c)
			if connects {
				c.link(goldenMain)
			}
			c.send(request(second.Address, rtConnect))
			if m := expect[*apipb.BluetoothDeviceConnectionResponse](c); m.GetConnected() || m.GetError() != 0 {
				t.Errorf("%s: %v", profile, m)
			}
			c.close()
		})
	}
}

func TestSleeper(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		p := w.proxy(ProxyConfig{Sleep: Sleep{Awake: 30 * time.Second, Asleep: time.Minute}})
		for range 3 {
			c := w.dial(p)
			c.subscribe()
			c.link(goldenMain)
			_, at := expectAt[*apipb.DisconnectRequest](c) // it says goodbye
			c.lines(5 * time.Second)                       // and the connection ends
			w.settle()
			if st, _ := w.air.Status("main"); st.Connections != 0 || p.Clients() != 0 {
				t.Errorf("asleep: %+v, %d clients", st, p.Clients())
			}
			refused := w.connect(p)
			if _, ok := <-refused.msgs; ok {
				t.Error("it answers in its sleep")
			}
			<-time.After(time.Until(at.Add(sleepGrace + time.Minute)))
		}
	})
}

func TestWhenAHelloAuthenticates(t *testing.T) {
	for _, tt := range []struct {
		cfg  ProxyConfig
		want bool
	}{
		{ProxyConfig{Version: "2026.10.0"}, true}, {ProxyConfig{Version: "2025.8.0"}, true},
		{ProxyConfig{Version: "2025.8.0", Access: Access{Password: "x"}}, false}, {ProxyConfig{Version: "2025.7.0"}, false},
		{ProxyConfig{Version: "2026.1.0", Access: Access{Password: "x"}}, true}, // nobody looks at it any more
	} {
		inWorld(t, nil, func(w *world) {
			c, _ := w.dialRaw(w.proxy(tt.cfg), nil)
			c.next(apiwire.HelloResponse)
			c.send(apiwire.SubscribeBluetoothConnectionsFreeRequest, nil)
			m, ok := <-c.msgs
			if got := ok && m.id == apiwire.BluetoothConnectionsFreeResponse; got != tt.want {
				t.Errorf("%s, password %q: answered %v", tt.cfg.Version, tt.cfg.Password, got)
			}
			_ = c.conn.Close()
		})
	}
}
