package link

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/proxysim"
)

// A hostRow is what happens between two hosts on a proxy of one version.
type hostRow struct {
	version string
	first   row           // another host has the proxy when we start
	pause   time.Duration // how long that host gets no advertisements because of it
	theft   row           // another host subscribes while we have it
	ours    bool          // whether we still get advertisements then
}

// secondHost plays both, with the proxy's firmware being version.
func secondHost(t *testing.T, version string) hostRow {
	out := hostRow{version: version}
	is := func(c *proxysim.ProxyConfig) { c.Version = version }
	t.Run("first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			out.first = fault{name: version, sim: is, fresh: true, open: true, recover: 25 * time.Hour, begin: func(s *scene) func() {
				_, end := s.other()
				time.Sleep(10 * time.Second)
				s.host.longestPause() // up to now
				return func() {
					out.pause = s.host.longestPause()
					end()
				}
			}}.run(t)
		})
	})
	t.Run("theft", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			out.theft = fault{name: version, sim: is, open: true, recover: 25 * time.Hour, begin: func(s *scene) func() {
				_, end := s.other()
				return func() {
					out.ours = s.hear.hearsMore()
					end()
				}
			}}.run(t)
		})
	})
	return out
}

// hearsMore reports whether advertisements come within the next 5 s.
func (h *quietHandler) hearsMore() bool {
	before := h.heard()
	time.Sleep(5 * time.Second)
	return h.heard() > before
}

func (r hostRow) String() string {
	keeps := "no"
	if r.ours {
		keeps = "yes"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |", r.version[:strings.LastIndexByte(r.version, '.')], duration(r.first.detected),
		duration(r.pause), duration(r.first.recovered), duration(r.theft.detected), keeps, duration(r.theft.recovered))
}

// TestSecondHost: two hosts on one proxy, by firmware version.
func TestSecondHost(t *testing.T) {
	for _, tt := range []struct {
		version string
		keeps   bool          // the first subscriber keeps the proxy, whoever comes
		pause   time.Duration // what our start may cost the other host at most
	}{
		// If nothing is taken from the other host, it gets every advertisement. From 2026.7 on, a start takes the proxy
		// from it until it takes the proxy back; since 2026.8 this is not necessary, as a client can ask first.
		{"2024.10.3", true, time.Second}, {"2025.11.2", true, time.Second}, {"2026.6.5", true, time.Second},
		{"2026.7.4", false, 31 * time.Second}, {"2026.8.2", false, 31 * time.Second}, {"2026.9.1", false, 31 * time.Second},
		{"2026.10.0", false, 31 * time.Second},
	} {
		t.Run(tt.version, func(t *testing.T) {
			r := secondHost(t, tt.version)
			if r.pause > tt.pause {
				t.Errorf("the other host heard nothing for %v", r.pause)
			}
			if tt.keeps != r.ours || tt.keeps != (r.theft.detected < 0) || r.theft.detected > 21*time.Second {
				t.Errorf("another host came: noticed after %v, adverts kept: %v", r.theft.detected, r.ours)
			}
			results.mu.Lock()
			defer results.mu.Unlock()
			results.hosts = append(results.hosts, r.String())
			t.Log(r)
		})
	}
}
