// Package air has the end-to-end tests of discovery, advertisement monitors, scan modes and adapters of proxies.
package air

import (
	"testing"

	"bluez-esphome/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
