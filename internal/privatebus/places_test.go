package privatebus

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestDemoPath: the folder is the user's own, or another one is taken.
func TestDemoPath(t *testing.T) {
	runtime, temporary := t.TempDir(), t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	t.Setenv("TMPDIR", temporary)
	usual := filepath.Join(runtime, "bluez-esphome-demo")
	fallback, err := filepath.Glob(temporary + "/*")
	if err != nil || len(fallback) != 0 {
		t.Fatal(err, fallback)
	}
	look := func(name, want string) {
		t.Helper()
		for range 2 { // it stays
			if got := DemoPath(); filepath.Dir(got) != want && got != want {
				t.Errorf("%s: %q, want it in %q", name, got, want)
			}
		}
	}
	look("usual", usual)
	if info, err := os.Stat(usual); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info, err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	inTemporary := filepath.Dir(DemoPath())
	if filepath.Dir(inTemporary) != temporary {
		t.Errorf("without XDG_RUNTIME_DIR: %s", inTemporary)
	}
	t.Setenv("XDG_RUNTIME_DIR", runtime+"/gone")
	look("a folder that is not there", inTemporary)
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	for name, spoil := range map[string]func(string) error{
		"others may enter": func(p string) error { return os.Chmod(p, 0o755) },
		"a link":           func(p string) error { return os.Symlink(temporary, p) },
		"a file":           func(p string) error { return os.WriteFile(p, nil, 0o600) },
	} {
		if err := os.RemoveAll(usual); err != nil {
			t.Fatal(err)
		}
		if name == "others may enter" {
			if err := os.Mkdir(usual, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := spoil(usual); err != nil {
			t.Fatal(err)
		}
		look(name, inTemporary)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(inTemporary, 1, 1); err != nil {
			t.Fatal(err)
		}
		look("another user's", "")
	}
}

// The demo's bus is found without a word, after all others.
func TestDemoIsFound(t *testing.T) {
	runtime := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	t.Setenv("TMPDIR", t.TempDir())
	address := scheme + DemoPath()
	if slices.Contains(Addresses(), address) || !slices.Contains(TemporaryAddresses(), address) {
		t.Errorf("%s is not in %q", address, TemporaryAddresses())
	}
}
