package harness

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	binEnv = "BLUEZ_ESPHOME_TEST_BINARY"
	// ProgramEnv names a folder in which BuildAll has built the program for all packages of a run.
	ProgramEnv = "BLUEZ_ESPHOME_TEST_PROGRAM"
	// LogsEnv names a folder for what processes of failed tests printed.
	LogsEnv = "BLUEZ_ESPHOME_TEST_LOGS"
	// NightlyEnv is not empty where tests are to run their long variants too.
	NightlyEnv = "BLUEZ_ESPHOME_TEST_NIGHTLY"
)

// Nightly reports whether the long variants of tests are wanted (make test-nightly).
func Nightly() bool { return os.Getenv(NightlyEnv) != "" }

// ByNight is the size of a test: small in make test, large in make test-nightly.
func ByNight[T any](small, large T) T {
	if Nightly() {
		return large
	}
	return small
}

// OnlyNightly skips a test that make test leaves out. The reason is printed by the summary of make test.
func OnlyNightly(t testing.TB) {
	t.Helper()
	if !Nightly() {
		t.Skip("it takes long (make test-nightly)")
	}
}

// Main is the TestMain of a package of end-to-end tests. Unless -bin names a binary, it builds one
// with the race detector.
func Main(m *testing.M) { os.Exit(run(m, "race", "-race")) }

// MainPlain is Main for tests of memory and times: it builds the program as it is shipped.
func MainPlain(m *testing.M) { os.Exit(run(m, "plain")) }

func run(m *testing.M, kind string, flags ...string) int {
	bin := flag.String("bin", "", "test this binary instead of one built from the tree")
	flag.Parse()
	path, err := filepath.Abs(*bin)
	if ours := os.Getenv(binEnv); *bin == "" && ours != "" { // this is a test that Isolated started again
		path = ours
	} else if all := os.Getenv(ProgramEnv); *bin == "" && all != "" {
		path = filepath.Join(all, kind, program)
	} else if *bin == "" {
		dir, derr := os.MkdirTemp("", "be-bin")
		if derr != nil {
			fmt.Fprintln(os.Stderr, derr)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		path, err = Build(dir, flags...)
	}
	if err == nil {
		err = os.Setenv(binEnv, path)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// BuildAll builds the program into dir for all packages of a run, which find it by ProgramEnv.
func BuildAll(dir string) error {
	for kind, flags := range map[string][]string{"race": {"-race"}, "plain": nil} {
		if _, err := Build(filepath.Join(dir, kind), flags...); err != nil {
			return err
		}
	}
	return nil
}

const program = "bluez-esphome"

// Build builds the program into dir with further flags of go build, and gives its path.
func Build(dir string, flags ...string) (string, error) {
	path := filepath.Join(dir, program)
	root, err := Root()
	if err != nil {
		return "", err
	}
	args := append([]string{"build", "-ldflags", "-X main.version=test"}, flags...)
	cmd := exec.Command("go", append(args, "-o", path, "./cmd/bluez-esphome")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the program: %w\n%s", err, out)
	}
	return path, nil
}

// Binary is the program under test.
func Binary() string { return os.Getenv(binEnv) }

// Root is the top of the repository.
func Root() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("cannot find the repository: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// Path gives a path in the repository.
func Path(t testing.TB, elem ...string) string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(append([]string{root}, elem...)...)
}

// SomePython is the interpreter that BLUEZ_ESPHOME_PYTHON names, or that of .venv. Without either the test is skipped.
func SomePython(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("BLUEZ_ESPHOME_PYTHON"); p != "" {
		return p
	}
	path := Path(t, ".venv", "bin", "python")
	if _, err := os.Stat(path); err != nil {
		t.Skip("there are no Python clients (sh scripts/test.sh need)")
	}
	return path
}

// Python is the interpreter that has the clients of tests/requirements.txt.
func Python(t testing.TB) string {
	t.Helper()
	path := Path(t, ".venv", "bin", "python")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no Python clients: %v; make test-clients installs them", err)
	}
	return path
}
