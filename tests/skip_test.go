package tests

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"
)

// TestSkipsSayWhatToDo: the summary of make test says, for each test that was skipped, what would make it run.
func TestSkipsSayWhatToDo(t *testing.T) {
	t.Parallel()
	skip := regexp.MustCompile(`\bt\.Skipf?\("([^"]*)"`)
	found := 0
	for _, top := range []string{"cmd", "internal", "tests"} {
		err := filepath.WalkDir(harness.Path(t, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules") {
				return err
			}
			if !strings.HasSuffix(path, ".go") || strings.Contains(path, "tests/run/") || strings.HasSuffix(path, "harness/main.go") {
				return nil
			}
			b, err := os.ReadFile(path)
			for _, m := range skip.FindAllStringSubmatch(string(b), -1) {
				found++
				if !strings.Contains(m[1], " (") || strings.HasPrefix(m[1], "skipped") {
					t.Errorf("%s: %q does not say what to do, as in \"chromium is not installed (apt install chromium)\"", path, m[1])
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 15 {
		t.Errorf("only %d skips found", found)
	}
}
