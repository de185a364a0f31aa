package page

import (
	"testing"

	"bluez-esphome/tests/harness"
)

func TestMain(m *testing.M) { harness.MainPlain(m) }
