package logger

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
)

func TestLogPriorities(t *testing.T) {
	for _, c := range []struct {
		name    string
		format  config.LogFormat
		journal bool
		want    string
	}{
		{"journal", config.LogAuto, true, "<7>msg=d\n<6>msg=i a=1\n<4>msg=w\n<3>msg=e\n"},
		{"journal, JSON", config.LogJSON, true, `<7>{"level":"DEBUG","msg":"d"}` + "\n"},
		{"elsewhere", config.LogText, false, "level=INFO msg=i a=1\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			log := newLogger(&b, config.Log{Level: slog.LevelDebug, Format: c.format}, place{journal: c.journal})
			log.Debug("d")
			log.Info("i", "a", 1)
			log.Warn("w")
			log.Error("e")
			if !strings.Contains(b.String(), c.want) {
				t.Errorf("got\n%swant\n%s", b.String(), c.want)
			}
			if strings.Contains(b.String(), "time=") == c.journal {
				t.Errorf("a time under the journal, or none elsewhere:\n%s", b.String())
			}
		})
	}
}

func TestLogRedact(t *testing.T) {
	a, err := ble.ParseAddress("A4:C1:38:10:00:02")
	if err != nil {
		t.Fatal(err)
	}
	for _, redact := range []bool{true, false} {
		var b bytes.Buffer
		log := newLogger(&b, config.Log{Redact: redact}, place{}).With("mac", a)
		log.Info("device a4:c1:38:10:00:02", "device", a, "alias", a.Dashed(), "address", a.String(),
			"path", "/org/bluez/hci0/"+a.PathElement()+"/service0001", "error", errors.New("no A4:C1:38:10:00:02 here"))
		log.WithGroup("g").Info("grouped", "device", a)
		line := strings.ToUpper(b.String())
		if found := strings.Contains(line, "10:00:02") || strings.Contains(line, "10-00-02") || strings.Contains(line, "10_00_02"); found == redact {
			t.Errorf("redact %v: %s", redact, b.String())
		}
		if redact && strings.Count(b.String(), "XX:XX:XX:XX:XX:XX") != 9 {
			t.Errorf("not all is hidden: %s", b.String())
		}
	}
	var b bytes.Buffer
	newLogger(&b, config.Log{Redact: true}, place{}).Info("kept", "bus", "[fe80::1:2:3:4]:6053", "uuid", "b1e50002-6d5e-4c1b-9e3a-1f0c2d3e4f50", "at", "12:30:45")
	if strings.Contains(b.String(), "XX") {
		t.Errorf("hides what is no Bluetooth address: %s", b.String())
	}
}

func TestLogRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		log := newLogger(&b, config.Log{}, place{journal: true})
		count := func() int {
			n := strings.Count(b.String(), "\n")
			return n
		}
		for range 100 {
			log.Warn("again", "proxy", "kitchen")
		}
		if n := count(); n != maxRepeats {
			t.Errorf("%d lines of 100 equal ones, want %d", n, maxRepeats)
		}
		log.Warn("again", "proxy", "garage")
		log.With("session", 2).Warn("again", "proxy", "kitchen")
		if n := count(); n != maxRepeats+2 {
			t.Errorf("%d lines: others are held back too", n)
		}
		b.Reset()
		time.Sleep(repeatWindow)
		for range 100 {
			log.Warn("again", "proxy", "kitchen")
		}
		if got := b.String(); got != "<4>msg=again proxy=kitchen repeats=95\n" {
			t.Errorf("in the next minute: %q", got)
		}
		b.Reset()
		time.Sleep(repeatWindow + time.Second)
		for i := range 10 * maxKeys {
			log.Warn("many", "i", i)
		}
		log.Warn("another", "i", 0)
		if n := count(); n != maxSimilar+1 {
			t.Errorf("%d lines of %d with the same message and one with another, want %d", n, 10*maxKeys, maxSimilar+1)
		}
		if n := len(log.Handler().(*logHandler).repeats.seen); n > maxKeys {
			t.Errorf("%d lines are remembered", n)
		}
		b.Reset()
		time.Sleep(repeatWindow)
		log.Warn("many", "i", -1)
		log.Warn("many", "i", -2)
		if got, want := b.String(), fmt.Sprintf("<4>msg=many i=-1 others_like_it=%d\n<4>msg=many i=-2\n", 10*maxKeys-maxSimilar); got != want {
			t.Errorf("in the next minute: %q, want %q", got, want)
		}
		for i := range 10 * maxKeys {
			log.Warn(fmt.Sprint("message ", i))
		}
		if n := len(log.Handler().(*logHandler).repeats.messages); n > maxKeys {
			t.Errorf("%d messages are remembered", n)
		}
	})
}

// TestLogLinks: the beginning and the end of each link is a line of its own, however many there are and however alike.
func TestLogLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		log := newLogger(&b, config.Log{}, place{})
		for i := range 2000 {
			log.Info("connected", "link", i, "device", "AA:00:00:00:00:01")
			log.Info("disconnected", "link", i, "device", "AA:00:00:00:00:01", "why", "link ended")
		}
		if n := strings.Count(b.String(), "\n"); n != 4000 || strings.Contains(b.String(), "others_like_it") || strings.Contains(b.String(), "repeats") {
			t.Errorf("%d lines of 4000", n)
		}
	})
}
