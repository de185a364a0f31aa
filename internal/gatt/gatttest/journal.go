package gatttest

import (
	"fmt"
	"slices"
	"sync"

	"bluez-esphome/internal/ble"
)

// journal is what a proxy was asked for.
type journal struct {
	// OnCall is told of each call, written as in Calls; nil: nobody wants to know. It is set before use.
	OnCall func(call string)

	mu      sync.Mutex
	calls   []string
	types   []ble.AddressType
	started int
}

// called notes a call.
func (j *journal) called(format string, args ...any) {
	call := fmt.Sprintf(format, args...)
	if j.OnCall != nil {
		j.OnCall(call)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls = append(j.calls, call)
}

// dialled notes the address type of an attempt.
func (j *journal) dialled(t ble.AddressType) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.types = append(j.types, t)
}

// begun notes a read or write that nobody waits for.
func (j *journal) begun() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.started++
}

// Calls lists the calls so far, as "connect AA:…".
func (j *journal) Calls() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.calls)
}

// Count is how often call was made.
func (j *journal) Count(call string) int {
	n := 0
	for _, c := range j.Calls() {
		if c == call {
			n++
		}
	}
	return n
}

// Types are the address types of the attempts so far, in order.
func (j *journal) Types() []ble.AddressType {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.types)
}

// ForgetTypes empties Types.
func (j *journal) ForgetTypes() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.types = nil
}

// Started is how many reads and writes were begun without waiting.
func (j *journal) Started() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.started
}
