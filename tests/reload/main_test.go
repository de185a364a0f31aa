package reload

import (
	"testing"

	"bluez-esphome/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
