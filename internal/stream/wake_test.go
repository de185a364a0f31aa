package stream

import (
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
)

// The goroutine that publishes is woken once for all that comes within gatherTime, also where it is only to learn when
// what is held back may be published; and always within gatherTime of it.
func TestWokenOnce(t *testing.T) {
	t.Parallel()
	for name, atMost := range map[string]time.Duration{"changes": 0, "at most": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := newIntake(newFilter(config.StreamFilter{}), atMost, 0, 10_000, 16384)
				devices := byte(0)
				hear := func(content byte) {
					for i := range devices {
						in.adverts(time.Now(), []ble.RawAdvert{{Address: ble.Address(i + 1), Data: []byte{content}}})
						time.Sleep(time.Millisecond)
					}
				}
				devices = 50
				hear(1)
				time.Sleep(gatherTime)
				<-in.wake
				in.take(make([]record, 0, takeMost))
				begun, woken, late := time.Now(), 0, time.Duration(0)
				done := make(chan struct{})
				go func() {
					defer close(done)
					for {
						select {
						case <-in.wake:
							woken++
							late = time.Since(begun)
							in.ripen(time.Now())
							in.take(make([]record, 0, takeMost))
						case <-time.After(time.Second):
							return
						}
					}
				}()
				hear(2)
				<-done
				if woken != 1 || late > gatherTime {
					t.Errorf("woken %d times, last after %v", woken, late)
				}
			})
		})
	}
}
