package status

import (
	"strings"
	"testing"
	"time"
)

// TestConfiguration: what is wrong with the file on disk, and what waits for a restart, stands in every view until it
// is mended.
func TestConfiguration(t *testing.T) {
	now := time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC)
	since := Moment(now.Add(-9*time.Hour - 10*time.Minute).Unix())
	for _, c := range []struct {
		name string
		in   *Configuration
		want string
	}{
		{"an older daemon", nil, ""},
		{"all is well", &Configuration{File: "my.yaml"}, ""},
		{"a mistake", &Configuration{Problem: "my.yaml:45: x: is wrong; mend it\nmy.yaml:46: y", Since: since},
			"the file on disk has mistakes since 23:50, and nothing of it is applied until\n  they are mended:\n  my.yaml:45: x: is wrong; mend it\n  my.yaml:46: y\n"},
		{"an old mistake", &Configuration{Problem: "x", Since: since - 86400},
			"the file on disk has mistakes since 2026-11-28 23:50, and nothing of it is\n  applied until they are mended:\n  x\n"},
		{"no file", &Configuration{Problem: "cannot read configuration my.yaml: file does not exist", Since: since},
			"the file on disk cannot be used since 23:50, and what was read before stays in\n  use:\n  cannot read configuration my.yaml: file does not exist\n"},
		{"restart", &Configuration{RestartKeys: []string{"http", "log"}}, "restart to apply: http, log\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := sample()
			r.Configuration = c.in
			for view, print := range map[string]func(*strings.Builder){
				"status":    func(b *strings.Builder) { r.PrintProxies(b, now) },
				"status -v": func(b *strings.Builder) { r.PrintProxy(b, now, "") },
				"status of a daemon without proxies": func(b *strings.Builder) {
					(&Report{Configuration: c.in}).PrintProxies(b, now)
				},
			} {
				var out strings.Builder
				print(&out)
				if !strings.Contains(out.String(), c.want) || c.want == "" && (strings.Contains(out.String(), "on disk") || strings.Contains(out.String(), "restart")) {
					t.Errorf("%s, want %q in\n%s", view, c.want, out.String())
				}
			}
		})
	}
}
