package gatttest

import (
	"context"
	"sync"

	"bluez-esphome/internal/ble"
)

// Begin is Do without waiting, unless NoStart.
func (p *Proxy) Begin(a ble.Address, op ble.Operation, done func([]byte, error)) (func(), bool) {
	if p.NoStart {
		return nil, false
	}
	p.begun()
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
