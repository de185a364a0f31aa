package scanmode

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/scanner"
)

// A proxy is active while somebody discovers on one of the adapters that it feeds, and for a short time afterwards;
// what is configured otherwise stays so.
func TestWish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var merged, own View
		want := func(mode scanner.ScanMode, wish ble.ScannerMode, lasts bool) {
			t.Helper()
			got, again := Wish(mode, &merged, nil, &own)
			if got != wish || (again == 0) != lasts {
				t.Errorf("%v, again %v; want %v, lasting: %v", got, again, wish, lasts)
			}
		}
		want(scanner.ScanAuto, ble.ScanPassive, true)
		want(scanner.ScanAlwaysActive, ble.ScanActive, true)
		merged.Discovering(true)
		want(scanner.ScanAuto, ble.ScanActive, true)
		want(scanner.ScanAlwaysPassive, ble.ScanPassive, true)
		own.Discovering(true)
		merged.Discovering(false)
		want(scanner.ScanAuto, ble.ScanActive, true) // for hciN
		own.Discovering(false)
		want(scanner.ScanAuto, ble.ScanActive, false)
		time.Sleep(scanner.ScanTail)
		want(scanner.ScanAuto, ble.ScanPassive, true)
	})
}

// However often the wish changes, the proxy's scanner is restarted at most four times a second, and is in the wished
// mode in the end.
func TestFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wish atomic.Uint32
		in, changes := ble.ScannerMode(0), 0 // the follower's, until it has ended
		f := NewFollower(func() (ble.ScannerMode, time.Duration) { return ble.ScannerMode(wish.Load()), 0 }, func(_ context.Context, mode ble.ScannerMode) {
			if mode != in {
				in, changes = mode, changes+1
			}
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.Run(ctx)
		}()
		begun := time.Now()
		for i := range 1001 {
			wish.Store(uint32(ble.ScanActive))
			if i%2 == 1 {
				wish.Store(uint32(ble.ScanPassive))
			}
			f.Changed()
			time.Sleep(3 * time.Millisecond)
		}
		time.Sleep(pace)
		took := time.Since(begun)
		cancel()
		<-done
		if most := int(took/pace) + 1; in != ble.ScanActive || changes > most || changes < 2 {
			t.Errorf("%v after %d changes in %v, want at most %d", in, changes, took, most)
		}
	})
}
