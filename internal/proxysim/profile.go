package proxysim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bluez-esphome/internal/ble"
)

// profile is a kind of board, or what a board is used for.
type profile struct {
	help  string
	apply func(*ProxyConfig)
}

// Sleeping times of the profile "sleeper".
const (
	sleeperAwake  = 45 * time.Second
	sleeperAsleep = 90 * time.Second
)

func profiles() map[string]profile {
	return map[string]profile{
		"esp32": {help: "as most proxies are; the default", apply: func(*ProxyConfig) {}},
		"rp2040": {help: "a Raspberry Pi Pico W: one connection slot, no cache to clear (really from 2026.8 on)", apply: func(c *ProxyConfig) {
			c.Model, c.Manufacturer, c.Platform = "rpipicow", "Raspberry Pi", "RP2040"
			c.Slots, c.MaxClients = 1, 4
			c.Features = ble.FeaturePassiveScan | ble.FeatureActiveConnections | ble.FeatureRemoteCaching | ble.FeaturePairing |
				ble.FeatureRawAdvertisements | ble.FeatureStateAndMode | ble.FeatureConnectionParams
		}},
		"ln882h": {help: "forwards advertisements only and makes no connections (really from 2026.8 on)", apply: func(c *ProxyConfig) {
			c.Model, c.Manufacturer, c.Platform = "generic-ln882hki", "Lightning Semi", "LN882X"
			c.Features = ble.FeaturePassiveScan | ble.FeatureRawAdvertisements
		}},
		"passive-radio": {help: "cannot scan actively, and says so", apply: func(c *ProxyConfig) { c.PassiveRadio = true }},
		"sleeper": {help: fmt.Sprintf("sleeps deeply: %v awake, %v away", sleeperAwake, sleeperAsleep), apply: func(c *ProxyConfig) {
			c.Sleep = Sleep{Awake: sleeperAwake, Asleep: sleeperAsleep}
		}},
		"device": {help: "has sensors, a light, a switch and buttons beside the proxy", apply: func(c *ProxyConfig) {
			c.ProjectName, c.ProjectVersion, c.Area = "bluez-esphome.climate-node", "1.2.0", "Living Room"
			c.AskTime = true
			c.Entities = DemoEntities()
		}},
	}
}

// setProfile makes c one of the profiles; it replaces what the profile says something about.
func (c *ProxyConfig) setProfile(name string) error {
	p, ok := profiles()[name]
	if !ok {
		return fmt.Errorf("profile %q is none of %s", name, strings.Join(profileNames(), ", "))
	}
	p.apply(c)
	return nil
}

func profileNames() []string { return slices.Sorted(maps.Keys(profiles())) }

// DemoEntities are those of a device that is more than a proxy: one of each kind.
func DemoEntities() []EntitySpec {
	return []EntitySpec{
		{
			Kind: EntitySensor, ID: "temperature", Name: "Temperature", DeviceClass: "temperature", Unit: "°C",
			Values: []float64{21.4, 21.5, 21.7, 21.6},
		},
		{Kind: EntitySensor, ID: "humidity", Name: "Humidity", DeviceClass: "humidity", Unit: "%", State: EntityState{Value: 47}},
		{Kind: EntityBinarySensor, ID: "motion", Name: "Motion", DeviceClass: "motion"},
		{Kind: EntityLight, ID: "status_light", Name: "Status Light", State: EntityState{On: true, Brightness: 0.5}},
		{Kind: EntitySwitch, ID: "relay", Name: "Relay", DeviceClass: "outlet"},
		{Kind: EntityButton, ID: "identify", Name: "Identify", DeviceClass: "identify"},
		{Kind: EntityButton, ID: "restart", Name: "Restart", DeviceClass: "restart", Restart: true},
	}
}
