package gatttest

import (
	"context"
	"sync"

	"bluez-esphome/internal/ble"
)

// Begin is Do without waiting, unless NoStart.
func (p *Proxy) Begin(a ble.Address, op ble.Operation, done func([]byte, error)) (func(), bool) {
	p.mu.Lock()
	no := p.NoStart
	if !no {
		p.started++
	}
	p.mu.Unlock()
	if no {
		return nil, false
	}
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	canceled := false
	go func() {
		defer cancel()
		value, err := p.Do(ctx, a, op)
		mu.Lock()
		tell := !canceled
		mu.Unlock()
		if tell {
			done(value, err)
		}
	}()
	return func() {
		mu.Lock()
		canceled = true
		mu.Unlock()
		cancel()
	}, true
}

// Started is how many reads and writes were begun without waiting.
func (p *Proxy) Started() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started
}
