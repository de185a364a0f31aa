package gatttest

import (
	"context"
	"sync"

	"bluez-esphome/internal/ble"
)

// StartRead is Read without waiting, unless NoStart.
func (p *Proxy) StartRead(a ble.Address, handle uint16, done func([]byte, error)) (func(), bool) {
	var value []byte
	return p.start(func(ctx context.Context) (err error) {
		value, err = p.Read(ctx, a, handle)
		return err
	}, func(err error) { done(value, err) })
}

// StartWrite is Write with response without waiting, unless NoStart.
func (p *Proxy) StartWrite(a ble.Address, handle uint16, value []byte, done func(error)) (func(), bool) {
	return p.start(func(ctx context.Context) error { return p.Write(ctx, a, handle, value, true) }, done)
}

func (p *Proxy) start(f func(context.Context) error, done func(error)) (func(), bool) {
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
		err := f(ctx)
		mu.Lock()
		tell := !canceled
		mu.Unlock()
		if tell {
			done(err)
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
