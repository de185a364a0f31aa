package apiconn

import (
	"testing"
	"time"
)

// work has a session work for so long at a time, with pauses of idle between, for ten seconds, and gives how long it
// worked.
func work(each, idle time.Duration) (worked, paused time.Duration) {
	var th throttle
	now := time.Unix(1, 0)
	for end := now.Add(10 * time.Second); now.Before(end); {
		th.begin(now)
		now = now.Add(each)
		worked += each
		pause := th.end(now)
		paused += pause
		now = now.Add(pause + idle)
	}
	return worked, paused
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		each, idle time.Duration
		least      time.Duration
	}{
		{time.Millisecond, 0, 2500 * time.Millisecond}, {20 * time.Microsecond, 0, 2500 * time.Millisecond}, {100 * time.Millisecond, time.Millisecond, 2400 * time.Millisecond},
	} {
		if worked, _ := work(tt.each, tt.idle); worked < tt.least || worked > tt.least+busyBurst+600*time.Millisecond {
			t.Errorf("%v at a time: worked %v of 10 s", tt.each, worked)
		}
	}
	if worked, paused := work(time.Millisecond, 4*time.Millisecond); paused != 0 {
		t.Errorf("with %v of work in 10 s it paused for %v", worked, paused)
	}
	var th throttle
	if p := th.end(time.Now()); p != 0 {
		t.Errorf("without work it paused for %v", p)
	}
}
