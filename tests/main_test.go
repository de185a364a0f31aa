// Package tests holds the end-to-end tests: the real program on real buses, with simulated
// proxies on TCP and unmodified clients.
package tests

import (
	"testing"

	"bluez-esphome/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// The demo's heart-rate sensor, which both proxies hear.
const (
	pulse         = "C8:2B:96:10:00:01"
	pulsePath     = "/org/bluez/hci0/dev_C8_2B_96_10_00_01"
	greetingUUID  = "b1e50002-6d5e-4c1b-9e3a-1f0c2d3e4f50" // read, write: "hello"
	commandUUID   = "b1e50003-6d5e-4c1b-9e3a-1f0c2d3e4f50" // write without response
	counterUUID   = "b1e50004-6d5e-4c1b-9e3a-1f0c2d3e4f50" // notifies a counter twice a second
	heartRateUUID = "00002a37-0000-1000-8000-00805f9b34fb" // notifies once a second
)
