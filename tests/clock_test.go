package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// wallClock lists the files that mean the time of day, which may jump, with the reason. Everything else measures with
// the monotonic clock, which package time does as long as no time is converted.
var wallClock = map[string]string{
	"internal/inspect/proxy1.go":         "LastHeard and Since as clients see them",
	"internal/bluezshim/extension.go":    "LastHeard as clients see it",
	"internal/web/collector.go":          "a time for Prometheus",
	"internal/apiconn/dispatch.go":       "a proxy asks for the time of day",
	"internal/store/proxies.go":          "the day on which a proxy was last used",
	"internal/inspect/configuration.go":  "when the file was read and changed, as clients see it",
	"internal/status/configuration.go":   "the same, beside the time of day",
	"internal/status/text.go":            "LastHeard and Since, beside the time of day",
	"internal/store/disk.go":             "the name of a damaged file",
	"internal/dbusobj/auth.go":           "a deadline in the past",
	"internal/web/past.go":               "the steps of the time axis of the page",
	"internal/web/view.go":               "the time of day on the page",
	"internal/web/trylog.go":             "the same",
	"internal/hci/pty.go":                "a deadline in the past",
	"internal/controllers/controller.go": "hci.Unix is a socket",
	"internal/status/connects.go":        "when something failed, as the daemon tells it",
	"internal/status/json.go":            "times for programs",
	"internal/status/remarks.go":         "when the next attempt comes, as the daemon tells it",
	"internal/beacon/bthome.go":          "a time that a device advertises",
	"internal/btsnoop/file.go":           "the time of a packet in the file",
	"internal/stream/encode.go":          "when a device was heard, as messages tell it",
	"internal/stream/intake.go":          "the same",
	"internal/stream/states.go":          "since when the daemon runs, as messages tell it",
}

// TestMonotonic: nothing that waits or measures loses the monotonic reading of the clock (package time, Monotonic
// Clocks). So a clock that jumps changes only what is shown.
func TestMonotonic(t *testing.T) {
	t.Parallel()
	strips := map[string]bool{
		"Unix": true, "UnixNano": true, "UnixMilli": true, "UnixMicro": true, "UTC": true, "AppendFormat": true,
	}
	used := map[string]bool{}
	for _, p := range packages(t) {
		dir := strings.TrimPrefix(p.ImportPath, "bluez-esphome/")
		if !strings.HasPrefix(dir, "internal/") && !strings.HasPrefix(dir, "cmd/") || strings.HasPrefix(dir, "internal/proxysim") || strings.HasSuffix(dir, "/shimtest") || strings.HasSuffix(dir, "/linkstest") {
			continue // it is only used by tests
		}
		for _, name := range p.GoFiles {
			rel := filepath.Join(dir, name)
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			if !imports(file, "time") {
				continue
			}
			ast.Inspect(file, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok || !strips[sel.Sel.Name] && !rounds(sel) {
					return true
				}
				used[rel] = true
				if wallClock[rel] == "" {
					t.Errorf("%s: %s takes the time of day; measure with time.Since and the like, or say in this test why not", set.Position(sel.Pos()), sel.Sel.Name)
				}
				return true
			})
		}
	}
	for rel := range wallClock {
		if !used[rel] {
			t.Errorf("%s does not use the time of day any more", rel)
		}
	}
}

// rounds reports whether a selector may be time.Now().Round or Truncate, which drop that reading.
func rounds(sel *ast.SelectorExpr) bool {
	call, ok := sel.X.(*ast.CallExpr)
	if !ok || sel.Sel.Name != "Round" && sel.Sel.Name != "Truncate" {
		return false
	}
	now, ok := call.Fun.(*ast.SelectorExpr)
	return ok && now.Sel.Name == "Now"
}

func imports(f *ast.File, path string) bool {
	for _, i := range f.Imports {
		if i.Path.Value == `"`+path+`"` {
			return true
		}
	}
	return false
}
