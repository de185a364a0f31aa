package docs

import (
	"flag"
	"testing"

	"bluez-esphome/tests/harness"
)

var write = flag.Bool("write", false, "write the output of status into docs/operations.md")

func TestMain(m *testing.M) { harness.Main(m) }
