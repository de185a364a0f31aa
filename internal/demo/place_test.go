package demo

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestIntroduce: the page comes first, what is missing is said with its remedy, and so is what will be another one next
// time.
func TestIntroduce(t *testing.T) {
	empty := t.TempDir()
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "bluetoothctl"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	const taken, other = "Port 9551 is taken", "Another demo has the usual bus"
	for _, c := range []struct {
		name, path string
		place      place
		has, not   []string
	}{
		{"usual", full, place{"unix:path=/b", "http://p/", true, true}, nil, []string{taken, other, "apt install"}},
		{"no bluetoothctl", empty, place{"unix:path=/b", "http://p/", true, true}, []string{"apt install bluez "}, []string{taken, other}},
		{"port taken", full, place{"unix:path=/b", "http://p/", true, false}, []string{taken}, []string{other}},
		{"two demos", full, place{"unix:path=/b", "http://p/", false, false}, []string{taken, other}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PATH", c.path)
			got := introduce(c.place)
			page, bus := strings.Index(got, "  http://p/\n"), strings.Index(got, "  export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/b\n")
			if page < 0 || bus < page {
				t.Errorf("the page does not come before the bus:\n%s", got)
			}
			for _, want := range c.has {
				if !strings.Contains(got, want) {
					t.Errorf("%q is not said:\n%s", want, got)
				}
			}
			for _, surplus := range append(c.not, "Home Assistant") {
				if strings.Contains(got, surplus) {
					t.Errorf("%q is said:\n%s", surplus, got)
				}
			}
		})
	}
}

// A page whose usual port is taken gets another one.
func TestPortTaken(t *testing.T) {
	if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", usualPort)); err == nil {
		defer l.Close() // else somebody else has it
	}
	l, err := openPage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if isUsual(l) {
		t.Errorf("%v is the usual port", l.Addr())
	}
}

// TestSamePlace: a variable that was exported for one demo is right for the next. A demo beside another one has a bus
// of its own.
func TestSamePlace(t *testing.T) {
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is not installed (apt install dbus-daemon)")
	}
	dir, err := os.MkdirTemp("", "demo") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	t.Setenv("TMPDIR", dir)
	for _, runtime := range []string{"", dir} {
		t.Setenv("XDG_RUNTIME_DIR", runtime)
		var buses []string
		for range 2 {
			run(t, func(text string) {
				buses = append(buses, busIn(text))
				if len(buses) == 2 {
					run(t, func(text string) { buses = append(buses, busIn(text)) })
				}
			})
		}
		if buses[0] != buses[1] || buses[2] == buses[0] || !strings.Contains(buses[0], "bluez-esphome-demo") || !strings.HasPrefix(buses[0], "unix:path="+dir) {
			t.Errorf("with XDG_RUNTIME_DIR=%q: a demo, the next one, and one beside it are on\n%s", runtime, strings.Join(buses, "\n"))
		}
	}
}

var exported = regexp.MustCompile(`export DBUS_SYSTEM_BUS_ADDRESS=(\S+)`)

func busIn(text string) string {
	m := exported.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1]
}

// run runs a demo until it has introduced itself, and has f look at what was printed before it ends.
func run(t *testing.T, f func(text string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	introduced := false
	out := writer(func(b []byte) {
		if busIn(string(b)) != "" {
			introduced = true
			f(string(b))
			cancel()
		}
	})
	if err := Run(ctx, Options{Version: "test", Out: out, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Error(err)
	}
	if !introduced {
		t.Error("the demo has not said where its bus is")
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }
