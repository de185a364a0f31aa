package apiconn

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/apiwire/apipb"
)

// old is the device info of firmware with those flags.
func old(version string, flags uint32) *apipb.DeviceInfoResponse {
	info := deviceInfo()
	info.EsphomeVersion, info.BluetoothProxyFeatureFlags = version, flags
	return info
}

// TestOtherHostBeforeUs: where no message 126 proves the subscription, another host may have had it from the start.
func TestOtherHostBeforeUs(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags uint32
		ours  bool
		after time.Duration
		state State
		says  string
	}{
		{"theirs", 0x3f, false, 20 * time.Second, StateDisplaced, "another API client (Home Assistant?) has it"},
		{"ours, and nothing to hear", 0x3f, true, 10 * time.Minute, StateOnline, ""},
		{"a passive proxy, which cannot be asked", 0x21, false, 2 * time.Minute, StateDeaf, "no advertisements came yet"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				started := only(func() error { return b.p.Start(t.Context()) })
				far := b.accept()
				far.hello(old("2024.10.0", tt.flags))
				if tt.flags&2 != 0 {
					far.read()
					far.send(freeSlots())
				}
				far.read()
				if err := started(); err != nil {
					t.Fatal(err)
				}
				f := &firmware{far: far, ours: tt.ours, dull: true}
				served := only(func() error { f.serve(); return nil })
				time.Sleep(tt.after)
				synctest.Wait()
				if b.p.State() != tt.state || !strings.Contains(b.p.LastError(), tt.says) {
					t.Errorf("state %v (%s), want %v", b.p.State(), b.p.LastError(), tt.state)
				}
				// It leaves: the next request for the subscription is granted.
				f.with(func() { f.grants, f.dull = true, false })
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if !tt.ours && b.p.State() != StateOnline {
					t.Errorf("state %v (%s) after the other host left", b.p.State(), b.p.LastError())
				}
				b.p.Stop()
				_ = far.conn.Close()
				_ = served()
			})
		})
	}
}

// TestAdvertsAreProof: a proxy that never says what its scanner does is ours if its advertisements come.
func TestAdvertsAreProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		started := only(func() error { return b.p.Start(t.Context()) })
		far := b.accept()
		far.hello(deviceInfo())
		far.read()
		far.send(freeSlots())
		far.read()
		if err := started(); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			far.send(heard())
			time.Sleep(time.Second)
		}
		if b.p.State() != StateOnline {
			t.Errorf("state %v (%s)", b.p.State(), b.p.LastError())
		}
		b.stop(far)
	})
}
