package logger

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"time"

	"bluez-esphome/internal/config"
)

// TestShort: what a person reads at a terminal. Nothing from the network makes a line of its own.
func TestShort(t *testing.T) {
	var b bytes.Buffer
	h := newShortHandler(&b, slog.LevelInfo)
	log := slog.New(h).With("proxy", "kitchen")
	log.Info("Proxy is online", "esphome", "2026.10.0", "features", "A B C", "encrypted", true)
	log.Warn("cannot", "device", "AA:BB", "error", errors.New("x\ny\x1b[2J"), "note", "two words")
	log.Debug("not shown")
	log.WithGroup("g").Info("grouped", "k", "")
	got := string(bytes.ReplaceAll(b.Bytes(), []byte(time.Now().Format("15:04:")), []byte("T:")))
	for _, want := range []string{
		"kitchen: Proxy is online esphome=2026.10.0 encrypted=true\n",
		"WARN kitchen AA:BB: cannot: x?y?[2J note=\"two words\"\n",
		"kitchen: grouped g.k=\"\"\n",
	} {
		if !bytes.Contains([]byte(got), []byte(want)) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if n := bytes.Count(b.Bytes(), []byte("\n")); n != 3 {
		t.Errorf("%d lines", n)
	}
}

// TestShortOnTerminals: auto is the short form on a terminal only, and the addresses are hidden there, too.
func TestShortOnTerminals(t *testing.T) {
	for _, c := range []struct {
		name     string
		format   config.LogFormat
		terminal bool
		want     string
	}{
		{"auto on a terminal", config.LogAuto, true, " XX:XX:XX:XX:XX:XX: hello\n"},
		{"auto elsewhere", config.LogAuto, false, " msg=hello device=XX:XX:XX:XX:XX:XX\n"},
		{"text on a terminal", config.LogText, true, " msg=hello device=XX:XX:XX:XX:XX:XX\n"},
		{"json on a terminal", config.LogJSON, true, `"msg":"hello","device":"XX:XX:XX:XX:XX:XX"`},
	} {
		var b bytes.Buffer
		newLogger(&b, config.Log{Format: c.format, Redact: true}, place{terminal: c.terminal}).Info("hello", "device", "AA:BB:CC:DD:EE:FF")
		if !bytes.Contains(b.Bytes(), []byte(c.want)) {
			t.Errorf("%s: %s", c.name, b.String())
		}
	}
}
