package bluezshim

import (
	"time"

	"bluez-esphome/internal/ble"

	"github.com/godbus/dbus/v5"
)

const orPatterns = "or_patterns"

// Limits of a monitor's properties (bluetoothd 5.87, AdvertisementMonitor1).
const (
	maxPatterns         = 64 // ours; BlueZ has no bound
	maxPatternEnd       = 31 // octets of legacy advertising data
	minMonitorRSSI      = -127
	maxMonitorRSSI      = 20
	unsetRSSI           = 127
	maxMonitorTimeout   = 300 // s
	defaultLowTimeout   = 5   // s
	defaultHighTimeout  = 10  // s
	maxSamplingPeriod   = 255
	unsetSamplingPeriod = 256
)

// parseMonitor validates the properties of an AdvertisementMonitor1 object (bluetoothd 5.87).
func parseMonitor(props map[string]dbus.Variant) (m ble.Monitor, ok bool) {
	if t, _ := props["Type"].Value().(string); t != orPatterns {
		return m, false
	}
	list, _ := props["Patterns"].Value().([][]any)
	if len(list) == 0 || len(list) > maxPatterns {
		return m, false
	}
	for _, fields := range list {
		p, ok := parsePattern(fields)
		if !ok {
			return m, false
		}
		m.Patterns = append(m.Patterns, p)
	}
	return m, parseThresholds(&m, props)
}

func parsePattern(fields []any) (p ble.MonitorPattern, ok bool) {
	if len(fields) != 3 {
		return p, false
	}
	start, ok1 := fields[0].(byte)
	typ, ok2 := fields[1].(byte)
	content, ok3 := fields[2].([]byte)
	if !ok1 || !ok2 || !ok3 || start >= maxPatternEnd || len(content) == 0 || int(start)+len(content) > maxPatternEnd {
		return p, false
	}
	if typ == 0 || typ > 0x3d && typ != 0xff {
		return p, false
	}
	return ble.MonitorPattern{Start: start, Type: typ, Content: content}, true
}

// parseThresholds: with none of the five set the monitor has no RSSI tracking; with some, the others have defaults.
func parseThresholds(m *ble.Monitor, props map[string]dbus.Variant) bool {
	low, okLow := optional(props, "RSSILowThreshold", int16(unsetRSSI))
	high, okHigh := optional(props, "RSSIHighThreshold", int16(unsetRSSI))
	lowFor, okLowFor := optional(props, "RSSILowTimeout", uint16(0))
	highFor, okHighFor := optional(props, "RSSIHighTimeout", uint16(0))
	sampling, okSampling := optional(props, "RSSISamplingPeriod", uint16(unsetSamplingPeriod))
	if !okLow || !okHigh || !okLowFor || !okHighFor || !okSampling ||
		!validRSSI(low) || !validRSSI(high) || lowFor > maxMonitorTimeout || highFor > maxMonitorTimeout ||
		sampling > maxSamplingPeriod && sampling != unsetSamplingPeriod {
		return false
	}
	m.Tracks = low != unsetRSSI || high != unsetRSSI || lowFor != 0 || highFor != 0 || sampling != unsetSamplingPeriod
	if !m.Tracks {
		return true
	}
	if low == unsetRSSI {
		low = minMonitorRSSI
	}
	if high == unsetRSSI {
		high = low
	}
	if lowFor == 0 {
		lowFor = defaultLowTimeout
	}
	if highFor == 0 {
		highFor = defaultHighTimeout
	}
	m.RSSILow, m.RSSIHigh = low, high
	m.LowTimeout, m.HighTimeout = time.Duration(lowFor)*time.Second, time.Duration(highFor)*time.Second
	return high >= low
}

func validRSSI(v int16) bool { return v == unsetRSSI || v >= minMonitorRSSI && v <= maxMonitorRSSI }

// optional reads a property that may be absent; one of another type is invalid.
func optional[T any](props map[string]dbus.Variant, name string, absent T) (v T, ok bool) {
	p, there := props[name]
	if !there {
		return absent, true
	}
	v, ok = p.Value().(T)
	return v, ok
}
