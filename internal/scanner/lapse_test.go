package scanner

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lapse"
)

// While the process did not run nobody was heard: a monitor's device is lost only if it is still silent once what came
// meanwhile was read.
func TestLapseLosesNobody(t *testing.T) {
	for heard, want := range map[bool]string{false: "[0s found 1 5s lost 1]", true: "[0s found 1]"} {
		synctest.Test(t, func(t *testing.T) {
			tr := newTracker(t, ble.Monitor{RSSILow: -127, RSSIHigh: -127, LowTimeout: 3 * time.Second})
			tr.adverts(2, "A", -60) // the last at 0.5 s
			tr.mu.Lock()
			tr.timerAt -= int64(time.Hour) // the timer will be late
			tr.mu.Unlock()
			tr.pass(3 * time.Second)
			if heard {
				tr.adverts(1, "A", -60)
			}
			tr.pass(lapse.Grace)
			if got := fmt.Sprint(tr.events); got != want {
				t.Errorf("heard %v: %s, want %s", heard, got, want)
			}
		})
	}
}

// Devices that were not heard while nobody was are dropped only after there was time to hear them.
func TestLapseDropsNobody(t *testing.T) {
	a := newAir(t, "A")
	a.hear(0, "A", dev, -60, golden)
	a.hear(100, "A", dev, -60, golden)
	const hour = 3600
	a.hear(hour, "A", neighbour, -60, golden)
	if got := a.Stats().Devices; got != 2 {
		t.Fatalf("%d devices, want 2", got)
	}
	a.hear(hour+11, "A", neighbour, -60, golden)
	if got := a.Stats().Devices; got != 1 {
		t.Errorf("%d devices, want 1: the other one is not there", got)
	}
}
