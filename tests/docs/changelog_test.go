package docs

import (
	"regexp"
	"strings"
	"testing"
)

// TestChangelog: every entry stands below the heading of a release and of a subject, and none stands twice, as merges
// have left them.
func TestChangelog(t *testing.T) {
	t.Parallel()
	seen := map[string]string{} // the beginning of each entry, and where it stands
	release, subject, entries := "", "", 0
	for line := range strings.Lines(read(t, "CHANGELOG.md").text) {
		line = strings.TrimSpace(line)
		heading, isRelease := strings.CutPrefix(line, "## ")
		switch {
		case isRelease:
			release, subject = heading, ""
			if heading != "Unreleased" && !regexp.MustCompile(`^\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)$`).MatchString(heading) {
				t.Errorf("the heading %q is neither Unreleased nor a version with its date", heading)
			}
		case strings.HasPrefix(line, "### "):
			subject = line
		case strings.HasPrefix(line, "* "):
			entries++
			if release == "" || subject == "" {
				t.Errorf("%.60q stands below no release, or no subject of it (### …)", line)
			}
			if where, twice := seen[line]; twice {
				t.Errorf("%.60q stands twice, below %s and %s", line, where, release)
			}
			seen[line] = release
		}
	}
	if entries < 50 {
		t.Errorf("only %d entries found", entries)
	}
}
