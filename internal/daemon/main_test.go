package daemon

import (
	"os"
	"testing"

	"bluez-esphome/internal/mdns/mdnstest"
)

// TestMain: TestAutoAdd takes every proxy that is announced, also those of other tests on this machine.
func TestMain(m *testing.M) { os.Exit(mdnstest.Alone(m)) }
