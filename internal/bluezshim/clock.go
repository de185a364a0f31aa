package bluezshim

import (
	"time"

	"bluez-esphome/internal/lapse"
)

// Clock tells the time and waits for it, so that tests need not. It is goroutine-safe.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f, in a goroutine of its own, once d has passed, unless stop was called before.
	AfterFunc(d time.Duration, f func()) (stop func())
}

// systemClock is the real time. Who was silent while the process did not run is heard first.
type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) func() {
	return lapse.AfterFunc(d, f).Stop
}
