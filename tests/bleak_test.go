package tests

import (
	"testing"
	"time"

	"bluez-esphome/tests/harness"
)

// TestBleak runs the unmodified bleak of tests/requirements.txt against the demo; what it
// checks is in clients/bleak_client.py.
func TestBleak(t *testing.T) {
	t.Parallel()
	bus := harness.Demo(t)
	p := harness.Start(t, bus.Env(), harness.Python(t), harness.Path(t, "tests", "clients", "bleak_client.py"))
	if status := p.Wait(t, 3*time.Minute); status != 0 {
		t.Fatalf("bleak's checks failed with status %d:\n%s%s", status, p.Out, p.Err)
	}
	t.Log(p.Out.Expect(t, `\d+ checks passed`)[0])
}
