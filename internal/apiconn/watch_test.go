package apiconn

import (
	"testing"
	"time"
)

// A process that was stopped, or a machine that slept, looks at its sockets before it gives a proxy up.
func TestSilentSince(t *testing.T) {
	now := time.Now()
	stopped := now.Add(-time.Hour)
	for _, c := range []struct {
		name               string
		heard, woken, want time.Time
	}{
		{"never stopped", stopped, time.Time{}, stopped},
		{"stopped for an hour", stopped, now, now},
		{"heard since it goes on", now, stopped, now},
	} {
		if got := silentSince(c.heard, c.woken); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
