package tests

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"
)

// maxProgram bounds the size of the program, in bytes. Nearly all of it is mapped into memory soon after the start, and
// an idle daemon should have less than 15 MiB there.
const maxProgram = 16_600_000 // 15.8 MiB; the virtual controllers took 0.3 MB of it, the stream to a broker 0.5 MB, names of companies and services 0.1 MB

// TestProgramSize builds the program as scripts/build.sh does. No function of it may look up methods by a name that is
// known only when it runs, as package text/template does: with one that does, the linker keeps every exported method of
// every type.
func TestProgramSize(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program (run it without -short)")
	}
	t.Parallel()
	out := filepath.Join(t.TempDir(), "bluez-esphome")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "nethttpomithttp2", "-ldflags", "-s -w -dumpdep", "-o", out, "./cmd/bluez-esphome")
	cmd.Dir = harness.Path(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	report, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, report)
	}
	edges := 0
	for lines := bufio.NewScanner(bytes.NewReader(report)); lines.Scan(); edges++ {
		if from, _, _ := strings.Cut(lines.Text(), " -> "); strings.Contains(from, "<ReflectMethod>") {
			t.Fatalf("%s calls methods by name", from)
		}
	}
	if edges < 10000 {
		t.Fatalf("the linker told of %d dependencies: it was not run", edges)
	}
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxProgram {
		t.Errorf("the program has %d bytes, more than %d", info.Size(), maxProgram)
	}
}
