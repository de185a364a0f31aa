package web

import (
	"time"

	"bluez-esphome/internal/lockorder"
)

// rateEvery is how often counters are looked at while nobody looks at the page, and over how long rates are taken.
const rateEvery = 10 * time.Second

// rates makes rates of counters that are read now and then. It is goroutine-safe.
type rates struct {
	mu       lockorder.Mutex[lockorder.Leaf]
	readings map[string]*rate
}

// rate has two readings: the rate is taken from the older one, which is between rateEvery and twice that old once there
// is one.
type rate struct {
	older, newer reading
}

type reading struct {
	at    time.Time
	count uint64
}

// maxRates bounds the names.
const maxRates = 1024

func newRates() *rates { return &rates{readings: map[string]*rate{}} }

// of takes a reading and gives the rate in 1/s, rounded to three digits or so; -1 as long as it is not known.
func (r *rates) of(name string, count uint64, now time.Time) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.readings[name]
	if c == nil || count < c.newer.count { // it began anew
		if len(r.readings) >= maxRates {
			clear(r.readings)
		}
		c = &rate{older: reading{now, count}, newer: reading{now, count}}
		r.readings[name] = c
	}
	if now.Sub(c.newer.at) >= rateEvery {
		c.older, c.newer = c.newer, reading{now, count}
	}
	over := now.Sub(c.older.at)
	if over < time.Second {
		return -1
	}
	v := float64(count-c.older.count) / over.Seconds()
	if v < 9.95 {
		return float64(int(v*10+.5)) / 10
	}
	return float64(int(v + .5))
}
