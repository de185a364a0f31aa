package ble

import (
	"slices"
)

// A Lack is a feature that a proxy has not, and what that disables.
type Lack struct {
	Feature  string `json:"feature"`
	Disables string `json:"disables"`
}

// disables says what a proxy cannot do without a feature (ESPHome's feature flags), and where it comes from. Those with
// link need connections, and are not worth a word without them.
var disables = []struct {
	flag Features
	link bool
	text string
}{
	{FeatureActiveConnections, false, "passive only: no connections through it (bluetooth_proxy: active: true enables them)"},
	{FeatureRemoteCaching, true, "no connections through it: update the firmware (ESPHome 2022.12)"},
	{FeaturePairing, true, "no pairing: devices that want it are not usable through it; update the firmware"},
	{FeatureCacheClearing, true, "ClearCache clears our copy of a device's services only, not the proxy's"},
	{FeatureRawAdvertisements, false, "adverts are decoded by the proxy: fields that it does not know are lost (ESPHome 2023.6 sends them raw)"},
	{FeatureStateAndMode, false, "its scan mode is what its own configuration says, and is not shown (ESPHome 2025.5)"},
	{FeatureConnectionParams, true, "SetConnectionParams does nothing (ESPHome 2026.3)"},
}

// noFeatures is what there is to say of a device without any.
const noFeatures = "this is no Bluetooth proxy: add bluetooth_proxy: to its ESPHome configuration"

// Lacking lists what a proxy that was online cannot do.
func Lacking(features []string) []Lack {
	if len(features) == 0 {
		return []Lack{{Feature: "bluetooth_proxy", Disables: noFeatures}}
	}
	links := slices.Contains(features, FeatureActiveConnections.String())
	out := []Lack{}
	for _, d := range disables {
		if name := d.flag.String(); !slices.Contains(features, name) && (links || !d.link) {
			out = append(out, Lack{name, d.text})
		}
	}
	return out
}
