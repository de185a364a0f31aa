package privatebus

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What dbus-daemon says reaches the log, printable and whole lines only, and neither memory nor log grow with what it
// says.
func TestComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		c := &complaints{log: slog.New(slog.NewTextHandler(&logged, nil))}
		lines := func() int { return strings.Count(logged.String(), "complains") }
		fmt.Fprint(c, "one\ntw")
		fmt.Fprint(c, "o \x1b[31m\n\n")
		if lines() != 2 || !strings.Contains(logged.String(), `text="two ?[31m"`) || c.text() != "one; two ?[31m" {
			t.Errorf("%s; %q", logged.String(), c.text())
		}
		for range maxLines { // no complaint, and not counted as one
			fmt.Fprint(c, "dbus-daemon[42]: [system] Reloaded configuration\n")
			fmt.Fprint(c, "dbus-daemon[42]: [system] org.freedesktop.DBus.Error.AccessDenied: Failed to set fd limit to 65536: Operation not permitted\n")
		}
		if lines() != 2 || c.text() != "one; two ?[31m" {
			t.Errorf("%s; %q", logged.String(), c.text())
		}
		for i := range 100000 {
			fmt.Fprintf(c, "%d %s\n", i, strings.Repeat("x", 2*maxLine))
		}
		fmt.Fprint(c, strings.Repeat("endless", 100000))
		if lines() != maxLines || len(c.first) != maxLines || cap(c.line) > 2*maxLine || len(c.text()) > maxLines*(maxLine+2) {
			t.Errorf("%d lines logged, %d kept, %d bytes of the last", lines(), len(c.first), cap(c.line))
		}
		time.Sleep(complaintTime)
		fmt.Fprint(c, "\nafter\n")
		if !strings.Contains(logged.String(), "dropped=") || lines() != maxLines+2 {
			t.Errorf("%d lines; %s", lines(), logged.String()[max(0, logged.Len()-300):])
		}
	})
}
