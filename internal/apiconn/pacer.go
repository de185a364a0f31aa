package apiconn

import (
	"context"
	"time"

	"bluez-esphome/internal/lockorder"
)

// Pacer spaces out the attempts of many proxies, which all come at once when an access point returns. Its zero value
// does not wait.
type Pacer struct {
	every time.Duration

	mu   lockorder.Mutex[lockorder.Leaf]
	next time.Time
}

// NewPacer makes a Pacer that lets one attempt begin in each interval of length every.
func NewPacer(every time.Duration) *Pacer { return &Pacer{every: every} }

// Wait returns when it is the caller's turn, or with ctx's error. It fits Config.Pace.
func (p *Pacer) Wait(ctx context.Context) error {
	now := time.Now()
	p.mu.Lock()
	turn := p.next
	if turn.Before(now) {
		turn = now
	}
	p.next = turn.Add(p.every)
	p.mu.Unlock()
	if !turn.After(now) {
		return ctx.Err()
	}
	timer := time.NewTimer(turn.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
