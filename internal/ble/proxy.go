package ble

import "strings"

// Features is a proxy's bluetooth_proxy_feature_flags (ESPHome native API,
// DeviceInfoResponse field 15).
type Features uint32

// Feature flags.
const (
	FeaturePassiveScan       Features = 0x01
	FeatureActiveConnections Features = 0x02
	FeatureRemoteCaching     Features = 0x04
	FeaturePairing           Features = 0x08
	FeatureCacheClearing     Features = 0x10
	FeatureRawAdvertisements Features = 0x20
	FeatureStateAndMode      Features = 0x40
	FeatureConnectionParams  Features = 0x80
)

var featureNames = []string{"PASSIVE_SCAN", "ACTIVE_CONNECTIONS", "REMOTE_CACHING", "PAIRING",
	"CACHE_CLEARING", "RAW_ADVERTISEMENTS", "FEATURE_STATE_AND_MODE", "CONNECTION_PARAMS_SETTING"}

// Has reports whether all of g are set.
func (f Features) Has(g Features) bool { return f&g == g }

// Names lists the set flags by ESPHome's names, lowest bit first.
func (f Features) Names() []string {
	var out []string
	for i, n := range featureNames {
		if f&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return out
}

// String joins Names with commas.
func (f Features) String() string { return strings.Join(f.Names(), ",") }

// FeaturesFromLegacy maps legacy_bluetooth_proxy_version of API versions
// below 1.9: each version adds the next of the first five flags.
func FeaturesFromLegacy(version uint32) Features {
	return Features(1<<min(version, 5) - 1)
}

// Slots is what a proxy last said of its connection slots (ESPHome native API, message 81).
// Allocated lists the addresses that hold a slot; HasAllocated is false for firmware before
// 2025.2, which does not send the list.
type Slots struct {
	Known        bool
	Free, Limit  int
	Allocated    []Address
	HasAllocated bool
}

// ScannerState is BluetoothScannerState of message 126.
type ScannerState uint8

// Scanner states.
const (
	ScannerIdle ScannerState = iota
	ScannerStarting
	ScannerRunning
	ScannerFailed
	ScannerStopping
	ScannerStopped
)

// ScannerMode is BluetoothScannerMode of messages 126 and 127.
type ScannerMode uint8

// Scanner modes.
const (
	ScanPassive ScannerMode = 0
	ScanActive  ScannerMode = 1
)

func (m ScannerMode) String() string {
	if m == ScanActive {
		return "active"
	}
	return "passive"
}
