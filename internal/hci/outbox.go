package hci

import "bluez-esphome/internal/lockorder"

// Bounds of what waits for a host that reads too slowly, beside advertisements. All ATT traffic but notifications waits
// for the host by itself, so that only one that has stopped reading gets there.
const (
	maxOut      = 4096
	maxOutBytes = 1 << 20
)

// outbox is what is to be sent to the host, in order: answers, events and ACL data first, advertising reports when
// there is nothing else.
type outbox struct {
	wake chan struct{} // capacity 1: there may be something

	mu       lockorder.Mutex[lockorder.Leaf]
	packets  [][]byte
	bytes    int
	closed   bool
	overflow bool
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// put queues a packet, which must not be modified afterwards.
func (o *outbox) put(p []byte) {
	o.mu.Lock()
	switch {
	case o.closed || o.overflow:
	case len(o.packets) >= maxOut || o.bytes+len(p) > maxOutBytes:
		o.overflow, o.packets = true, nil
	default:
		o.packets = append(o.packets, p)
		o.bytes += len(p)
	}
	o.mu.Unlock()
	o.poke()
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take empties the queue. alive is false once it overflowed.
func (o *outbox) take() (packets [][]byte, alive bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	packets, o.packets, o.bytes = o.packets, nil, 0
	return packets, !o.overflow
}

// close drops what is put from now on: there is no host.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.packets, o.bytes = true, nil, 0
}
