package gatttest

import (
	"context"
	"fmt"
	"time"

	"bluez-esphome/internal/ble"
)

// Outcome scripts one attempt to connect.
type Outcome struct {
	Delay time.Duration
	Code  int32 // answered with connected=false if not 0, or if Refuse
	// Refuse answers connected=false with code 0. Hang never answers. Lose ends the link right after it came up.
	Refuse, Hang, Lose bool
}

// Code is the error of an attempt that was answered with connected=false.
type Code int32

// ConnectCode is message 69's error.
func (c Code) ConnectCode() int32 { return int32(c) }

func (c Code) Error() string { return fmt.Sprintf("connected=false, code 0x%02x", int32(c)) }

// Answers scripts how a proxy answers. What is zero is answered as the firmware does.
type Answers struct {
	// Script gives the outcome of the n-th attempt (from 0) to connect to a; nil: all succeed in 100 ms.
	Script func(a ble.Address, n int) Outcome
	// Accepts reports whether peripherals answer when they are dialled with that address type; nil: with any.
	Accepts func(ble.AddressType) bool
	// CachedMTU is what a cached link reports as its MTU; 0: 23.
	CachedMTU int
	// TellsMTU: the MTU of a link that is up is told, and how long that takes; 0: it is not, a negative time: it never
	// comes.
	TellsMTU time.Duration
	// Streams gives the list that the n-th discovery streams, nil: the peripheral's.
	Streams func(a ble.Address, n int) ([]ble.Service, error)
	// StreamDelay is how long the n-th discovery takes, nil: 50 ms.
	StreamDelay func(a ble.Address, n int) time.Duration
	// Lose tells which calls, written as in Calls, get no answer although they are carried out. Reads and writes are "read
	// ADDRESS HANDLE" and "write ADDRESS HANDLE".
	Lose func(call string) bool
	// NoStart: every read and write has to be waited for.
	NoStart bool
	// DisconnectDelay is how long ending a link or an attempt takes.
	DisconnectDelay time.Duration
}

// answerTimeout is how long a session waits for an answer.
const answerTimeout = 30 * time.Second

// outcome is that of the n-th attempt to connect to a, which was dialled with type t.
func (s *Answers) outcome(a ble.Address, t ble.AddressType, n int) Outcome {
	o := Outcome{Delay: 100 * time.Millisecond}
	if s.Script != nil {
		o = s.Script(a, n)
	}
	if s.Accepts != nil && !s.Accepts(t) {
		o = Outcome{Delay: time.Second, Code: 133}
	}
	return o
}

// streamDelay is how long the n-th discovery of a takes.
func (s *Answers) streamDelay(a ble.Address, n int) time.Duration {
	if s.StreamDelay == nil {
		return 50 * time.Millisecond
	}
	return s.StreamDelay(a, n)
}

// lost waits as long as a session does for an answer that does not come, if the call is one to lose.
func (s *Answers) lost(ctx context.Context, format string, args ...any) error {
	if s.Lose == nil || !s.Lose(fmt.Sprintf(format, args...)) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	<-ctx.Done()
	return fmt.Errorf("%w: %w", ble.ErrTimeout, ctx.Err())
}
