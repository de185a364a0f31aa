package web

import "time"

// rateEvery is how often the counters are read while there are no viewers, and the least time over which a rate is
// taken.
const rateEvery = 10 * time.Second

// rates computes the rates of counters that are read at irregular times.
type rates struct {
	readings map[string]*rate
}

// rate has two readings of a counter. The rate is taken from the older one, which is between rateEvery and twice that
// old.
type rate struct {
	older, newer reading
}

type reading struct {
	at    time.Time
	count uint64
}

// maxRates bounds the counters.
const maxRates = 1024

func newRates() *rates { return &rates{readings: map[string]*rate{}} }

// of takes a reading and gives the rate in 1/s, rounded to about three digits; it is -1 while it is not known.
func (r *rates) of(name string, count uint64, now time.Time) float64 {
	c := r.readings[name]
	if c == nil || count < c.newer.count { // the counter began anew
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
