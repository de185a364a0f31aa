package demo

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/scanner"
)

func TestTable(t *testing.T) {
	now := time.Now()
	got := Table([]scanner.Device{{
		Address: 0xAABBCCDDEEFF, Name: "evil\x1b[2J\u0085name", LastHeard: now.Add(-1500 * time.Millisecond),
		Sources: []ble.Source{{Proxy: "kitchen", RSSI: -60, Owner: true}, {Proxy: "garage", RSSI: -80}},
	}}, now)
	for _, want := range []string{"AA:BB:CC:DD:EE:FF", "evil?[2J?name", "kitchen* -60, garage -80", "1.5 s"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestExecStatus(t *testing.T) {
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is not installed (apt install dbus-daemon)")
	}
	for _, c := range []struct {
		name, command string
		want          int
	}{
		{"success", "true", 0},
		{"failure", "exit 3", 3},
		{"signal", "kill -TERM $$", 143},
		{"no such command", "/nonexistent/command", 127},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Run(t.Context(), Options{Exec: c.command, Version: "test", Out: &strings.Builder{}, Log: slog.New(slog.DiscardHandler)})
			var exit *ExitError
			got := 0
			if errors.As(err, &exit) {
				got = exit.Status
			} else if err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("status %d, want %d", got, c.want)
			}
		})
	}
}

// A demo that is stopped says nothing of an error, and shows how to use it while it runs.
func TestShow(t *testing.T) {
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is not installed (apt install dbus-daemon)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	out := &untilTable{stop: cancel}
	if err := Run(ctx, Options{Version: "test", Out: out, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"export DBUS_SYSTEM_BUS_ADDRESS=unix:path=", "C8:2B:96:10:00:01", "kitchen", "garage"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

// untilTable stops the demo once the table was printed.
type untilTable struct {
	text strings.Builder
	stop func()
}

func (u *untilTable) String() string { return u.text.String() }

func (u *untilTable) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "HEARD BY") {
		u.stop()
	}
	return u.text.Write(b)
}
