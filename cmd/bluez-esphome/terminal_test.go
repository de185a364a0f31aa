package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/status"

	"golang.org/x/sys/unix"
)

func TestColour(t *testing.T) {
	var b bytes.Buffer
	r := &status.Report{Proxies: []status.Proxy{{Name: "Küche", Host: "k", State: "online"}, {Name: "garage", State: "auth-failed", LastError: "online \x1b[2J"}}}
	r.PrintProxies(&b, time.Now())
	got := colour(printable(b.String()))
	want := "\x1b[1mPROXY   STATE        ESPHOME  SCAN  SLOTS  HEARD\x1b[0m\n" +
		"Küche   \x1b[32monline\x1b[0m       -        -     -      -\n" +
		"garage  \x1b[31mauth-failed\x1b[0m  -        -     -      -\n\n" +
		"garage: online ?[2J\n" +
		"0 on the bus, 0 connected\n"
	if got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	if s := colour("no proxies are configured\n"); s != "no proxies are configured\n" {
		t.Errorf("coloured without a table: %q", s)
	}
}

func TestWantColours(t *testing.T) {
	// A pseudo-terminal; a pipe is none.
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	_, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	for _, c := range []struct {
		name, noColor, term string
		file                *os.File
		want                bool
	}{
		{"terminal", "", "xterm", pty, true},
		{"NO_COLOR", "1", "xterm", pty, false},
		{"dumb terminal", "", "dumb", pty, false},
		{"pipe", "", "xterm", pipe, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("NO_COLOR", c.noColor)
			t.Setenv("TERM", c.term)
			if got := wantColours(c.file); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
			if got := wantColours(screen{new(bytes.Buffer), c.file}); got != c.want {
				t.Errorf("through a screen: %v, want %v", got, c.want)
			}
		})
	}
	if wantColours(new(bytes.Buffer)) {
		t.Error("a buffer is no terminal")
	}
}

// TestPrintJSON: what steers terminals is escaped and still the same.
func TestPrintJSON(t *testing.T) {
	const nasty = "a\x1b[2J\u009b5m\u202e\x7f\U000e0041é\n"
	var b bytes.Buffer
	if err := printJSON(&b, map[string]string{"name": nasty}); err != nil {
		t.Fatal(err)
	}
	if i := strings.IndexFunc(strings.ReplaceAll(b.String(), "\n", ""), steers); i >= 0 || !strings.Contains(b.String(), "é") {
		t.Errorf("%q", b.String())
	}
	var got map[string]string
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || got["name"] != nasty {
		t.Errorf("%q, %v", got, err)
	}
	if got := printable(nasty); got != "a?[2J?5m???é\n" {
		t.Errorf("%q", got)
	}
}
