package gatt

import (
	"errors"
	"maps"

	"bluez-esphome/internal/ble"
)

// What becomes of a Connect.
const (
	ResultConnected = "connected"
	ResultCanceled  = "called-off"
	ResultTimeout   = "no-answer" // or nobody heard the device
	ResultNoSlot    = "no-free-slot"
	ResultRefused   = "refused" // by the proxy or the device, or the proxy went
	ResultBlocked   = "no-proxy-may"
	ResultLost      = "lost-at-once"
	ResultOther     = "other"
)

// Why a link ends.
const (
	EndRequested = "requested"
	EndDevice    = "device"      // it ended the link
	EndSilent    = "fell-silent" // supervision time-out: out of reach, or off
	EndKeys      = "keys"        // authentication or encryption failed
	EndProxy     = "proxy-offline"
	EndUseless   = "of-no-use" // the services could not be listed
	EndUnknown   = "unknown"
)

var (
	// Results are all words for what becomes of a Connect, in the order of a table.
	Results = []string{
		ResultConnected, ResultCanceled, ResultTimeout, ResultNoSlot, ResultRefused, ResultBlocked, ResultLost, ResultOther,
	}
	// Ends are all words for why a link ends.
	Ends = []string{EndRequested, EndDevice, EndSilent, EndKeys, EndProxy, EndUseless, EndUnknown}
)

// Counts are what became of all Connects and links since the start. The maps have an entry for each word.
type Counts struct {
	Connects   map[string]uint64 // by Results
	Ends       map[string]uint64 // by Ends
	ValuesLost uint64            // notifications that programs lost because they read too slowly
}

func newCounts() Counts {
	c := Counts{Connects: make(map[string]uint64, len(Results)), Ends: make(map[string]uint64, len(Ends))}
	for _, r := range Results {
		c.Connects[r] = 0
	}
	for _, r := range Ends {
		c.Ends[r] = 0
	}
	return c
}

// Counts gives the counters.
func (m *Manager) Counts() Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Counts{Connects: maps.Clone(m.counts.Connects), Ends: maps.Clone(m.counts.Ends), ValuesLost: m.counts.ValuesLost}
}

// resultOf is one of Results for the error of a Connect.
func resultOf(err error) string {
	var failed *ble.ConnectError
	switch {
	case errors.Is(err, ble.ErrCanceled):
		return ResultCanceled
	case !errors.As(err, &failed):
		return ResultOther
	}
	switch failed.Failure {
	case ble.ConnectTimeout:
		return ResultTimeout
	case ble.ConnectNoSlot:
		return ResultNoSlot
	case ble.ConnectRefused:
		return ResultRefused
	case ble.ConnectBlocked:
		return ResultBlocked
	case ble.ConnectLost:
		return ResultLost
	}
	return ResultOther
}

// endOf is one of Ends. local: somebody here wanted it.
func endOf(l *link, reason ble.DisconnectReason, local bool) string {
	switch {
	case local:
		return EndRequested
	case l != nil && l.proxyGone:
		return EndProxy
	}
	switch reason {
	case ble.DisconnectRemote:
		return EndDevice
	case ble.DisconnectTimeout:
		return EndSilent
	case ble.DisconnectAuthentication:
		return EndKeys
	case ble.DisconnectLocal:
		return EndUseless
	}
	return EndUnknown
}
