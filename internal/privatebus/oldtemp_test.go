package privatebus

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// What version 1.0.0 left is removed, unless it is in use, new, or somebody else's by its name or its rights.
func TestSweepOld(t *testing.T) {
	tmp := shortDir(t)
	t.Setenv("TMPDIR", tmp)
	old := time.Now().Add(-2 * oldAge)
	stays := []string{}
	for _, tt := range []struct {
		name   string
		mode   os.FileMode
		at     time.Time
		socket string // "": none
		stays  bool
	}{
		{name: "bluez-esphome-1234", mode: 0o700, at: old, socket: "left"},
		{name: "bluez-esphome-1235", mode: 0o700, at: old},
		{name: "bluez-esphome-conf-99", mode: 0o700, at: old},
		{name: "bluez-esphome-1236", mode: 0o700, at: old, socket: "alive", stays: true},
		{name: "bluez-esphome-1237", mode: 0o700, at: time.Now(), socket: "left", stays: true},
		{name: "bluez-esphome-conf-98", mode: 0o700, at: time.Now(), stays: true},
		{name: "bluez-esphome-1238", mode: 0o755, at: old, stays: true},
		{name: "bluez-esphome-demo-0", mode: 0o700, at: old, stays: true},
		{name: "bluez-esphome-mine1", mode: 0o700, at: old, stays: true},
	} {
		dir := filepath.Join(tmp, tt.name)
		if err := os.Mkdir(dir, tt.mode); err != nil {
			t.Fatal(err)
		}
		if tt.socket != "" {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, socket), Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			if tt.socket == "alive" {
				defer func() { _ = l.Close() }()
			} else {
				l.SetUnlinkOnClose(false)
				_ = l.Close()
			}
		}
		if err := os.Chtimes(dir, tt.at, tt.at); err != nil {
			t.Fatal(err)
		}
		if tt.stays {
			stays = append(stays, tt.name)
		}
	}
	sweepOld()
	entries, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(stays)
	if !slices.Equal(got, stays) {
		t.Errorf("there are %q, want %q", got, stays)
	}
}
