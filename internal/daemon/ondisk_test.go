package daemon_test

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/dbusobj/dbustest"
	"bluez-esphome/internal/status"
)

// TestConfigurationOnDisk: a reload that failed is to be seen until one succeeds, with the time of the first failure,
// and so is what waits for a restart.
func TestConfigurationOnDisk(t *testing.T) {
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is not installed (apt install dbus-daemon)")
	}
	bus := dbustest.Start(t)
	addrs := simulate(t, "kitchen")
	begun := status.Moment(time.Now().Unix())
	started := configOf(t, bus, addrs, "kitchen")
	d, _ := run(t, started)
	ask := func() status.Configuration {
		t.Helper()
		r, err := status.Ask(t.Context(), bus)
		if err != nil {
			t.Fatal(err)
		}
		if r.Configuration == nil {
			t.Fatal("the daemon tells nothing of its configuration")
		}
		return *r.Configuration
	}
	if c := ask(); c.File != "test" || c.Problem != "" || c.Since != 0 || len(c.RestartKeys) != 0 {
		t.Errorf("after the start %+v", c)
	}
	d.ReloadFailed(errors.New("my.yaml:45: bad\nmy.yaml:46: worse"))
	first := ask()
	if first.Problem != "my.yaml:45: bad\nmy.yaml:46: worse" || first.Since < begun || first.Since > status.Moment(time.Now().Unix()) {
		t.Errorf("after a failure %+v", first)
	}
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("my.yaml:%d: %s", i, strings.Repeat("ö", 10_000)))
	}
	d.ReloadFailed(errors.New(strings.Join(many, "\n") + "\xff"))
	if c := ask(); c.Since != first.Since || len(c.Problem) > 4096 || !strings.HasSuffix(c.Problem, "\nand 195 more") {
		t.Errorf("after another failure since %d (%d before), %d bytes: …%.30q", c.Since, first.Since, len(c.Problem), c.Problem[max(0, len(c.Problem)-30):])
	}
	cfg := configOf(t, bus, addrs, "kitchen")
	cfg.HTTP.Listen = "127.0.0.1:1"
	cfg.StateDir = "/elsewhere"
	d.Reload(cfg)
	if c := ask(); c.Problem != "" || c.Since != 0 || !slices.Equal(c.RestartKeys, []string{"state_dir", "http"}) {
		t.Errorf("after a success %+v", c)
	}
	more := *started
	more.Adapters = config.AdaptersPerProxy
	d.Reload(&more)
	if c := ask(); len(c.RestartKeys) != 0 {
		t.Errorf("with all put back and an adapter more %+v", c)
	}
	d.Reload(started)
	if c := ask(); !slices.Equal(c.RestartKeys, []string{"adapters"}) {
		t.Errorf("with an adapter less %+v", c)
	}
}
