package ble

import (
	"errors"
	"fmt"
)

// Bounds of ATT_MTU, in bytes. 23 is what every bearer has (Bluetooth Core, Vol 3 Part G, 5.2.1); no proxy negotiates
// more than 517, which fits the longest attribute and the header of a Prepare Write.
const (
	MinMTU = 23
	MaxMTU = 517
)

// ClampMTU makes an ATT_MTU of what a proxy reported: 0, where it said nothing, becomes MinMTU.
func ClampMTU(reported uint32) int { return int(min(max(reported, MinMTU), MaxMTU)) }

// MaxAttribute is the longest attribute value, in bytes (Bluetooth Core, Vol 3 Part F, 3.2.9).
const MaxAttribute = 512

// Bounds of one GATT database. Handles have 16 bits, but a table that takes megabytes on D-Bus is no peripheral's. A
// proxy that lists more is refused, so that no table is cut short silently.
const (
	MaxServices   = 512
	MaxAttributes = 4096
)

// ErrInvalid: an argument is out of its range; the wrapping error says which.
var ErrInvalid = errors.New("invalid argument")

// ConnectionParams are the parameters of a link (Bluetooth Core, Vol 6 Part B, 4.5.2).
type ConnectionParams struct {
	MinInterval, MaxInterval uint16 // in 1.25 ms, 6…3200
	Latency                  uint16 // in connection events, 0…499
	Timeout                  uint16 // of supervision, in 10 ms, 10…3200; longer than 2·(1+Latency)·MaxInterval
}

// Check returns an error that wraps ErrInvalid and names the value that is out of its range, or nil.
func (p ConnectionParams) Check() error {
	switch {
	case p.MinInterval < 6 || p.MaxInterval > 3200 || p.MinInterval > p.MaxInterval:
		return fmt.Errorf("connection intervals %d…%d are not within 6…3200, in 1.25 ms: %w", p.MinInterval, p.MaxInterval, ErrInvalid)
	case p.Latency > 499:
		return fmt.Errorf("a latency of %d connection events is more than 499: %w", p.Latency, ErrInvalid)
	case p.Timeout < 10 || p.Timeout > 3200:
		return fmt.Errorf("a supervision timeout of %d is not within 10…3200, in 10 ms: %w", p.Timeout, ErrInvalid)
	case uint32(p.Timeout)*4 <= (1+uint32(p.Latency))*uint32(p.MaxInterval):
		return fmt.Errorf("a supervision timeout of %d0 ms is not longer than two intervals of %d·1.25 ms with a latency of %d: %w",
			p.Timeout, p.MaxInterval, p.Latency, ErrInvalid)
	}
	return nil
}
