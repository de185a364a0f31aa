package status

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// A Configuration is how the file on disk stands to the configuration that is in use.
type Configuration struct {
	File string `json:"file"`
	// Problem has one mistake a line, at most five; it is empty while the file is in use. Since is when the first of the
	// failed reloads found one.
	Problem string `json:"problem"`
	Since   Moment `json:"since"`
	// RestartKeys are those that changed and take effect with the next start.
	RestartKeys []string `json:"restart_keys"`

	captures string // see Report.CaptureSocket
}

// CaptureSocket is where the command capture reaches the daemon, empty if it offers none.
func (r *Report) CaptureSocket() string {
	if r.Configuration == nil {
		return ""
	}
	return r.Configuration.captures
}

func configurationOf(p map[string]dbus.Variant) *Configuration {
	return &Configuration{
		File: get[string](p, "File"), Problem: get[string](p, "Problem"), Since: Moment(get[uint64](p, "Since")), RestartKeys: list(get[[]string](p, "RestartKeys")),
		captures: get[string](p, "CaptureSocket"),
	}
}

// print writes what is to be done about the file, if anything is.
func (c *Configuration) print(w io.Writer, now time.Time) {
	if c == nil {
		return
	}
	if c.Problem != "" {
		what := "the file on disk has mistakes since %s, and nothing of it is applied until they are mended:"
		if c.unread() {
			what = "the file on disk cannot be used since %s, and what was read before stays in use:"
		}
		wrap(w, "", "  ", fmt.Sprintf(what, clock(c.Since, now)))
		for line := range strings.SplitSeq(c.Problem, "\n") {
			wrap(w, "  ", "    ", line)
		}
	}
	if len(c.RestartKeys) > 0 {
		wrap(w, "", "  ", "restart to apply: "+strings.Join(c.RestartKeys, ", "))
	}
}

// unread reports whether the newest reload found no file that it could read.
func (c *Configuration) unread() bool {
	return strings.HasPrefix(c.Problem, "cannot read configuration ")
}

// clock tells a time of day, with the date if it is not of the last day.
func clock(unix Moment, now time.Time) string {
	at := time.Unix(int64(unix), 0).In(now.Location())
	if now.Sub(at) < 24*time.Hour {
		return at.Format("15:04")
	}
	return at.Format("2006-01-02 15:04")
}
