package config

import (
	"errors"
	"strings"
)

// Bus says where org.bluez is published: BusSystem, BusPrivate, BusNone, or the D-Bus address of a bus, such as unix:….
type Bus string

// The buses with names of their own.
const (
	BusSystem  Bus = "system"
	BusPrivate Bus = "private"
	// BusNone publishes nothing: the proxies are only shared, or used by a controller.
	BusNone Bus = "none"
)

// ParseBus reads the value of the key bus and of the flag --bus.
func ParseBus(s string) (Bus, error) {
	b := Bus(s)
	switch {
	case b == BusSystem, b == BusPrivate, b == BusNone:
		return b, nil
	case strings.HasPrefix(s, "unix:path=") && len(s) > len("unix:path="),
		strings.HasPrefix(s, "unix:abstract=") && len(s) > len("unix:abstract="):
		return b, nil
	}
	return "", errors.New("want system, private, none or unix:path=PATH")
}
