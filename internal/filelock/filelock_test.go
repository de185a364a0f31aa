package filelock

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A process that was forked and has not called exec yet holds a copy of every descriptor. The test makes such a copy.
func TestReleasedWhileAProcessStarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first := open(t, path)
	if err := Try(first); err != nil {
		t.Fatal(err)
	}
	second := open(t, path)
	defer func() { _ = second.Close() }()
	if err := Try(second); !errors.Is(err, ErrLocked) {
		t.Fatalf("a second holder: %v", err)
	}
	forked, err := syscall.Dup(int(first.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(forked) }()
	Release(first)
	if err := Try(second); err != nil {
		t.Errorf("after the release: %v", err)
	}
}

func TestAFolder(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := Try(dir); err != nil {
		t.Fatal(err)
	}
	Release(dir)
	if err := Try(dir); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("a closed file: %v", err)
	}
}
