package privatebus

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// Processes that were killed leave folders of theirs. They are gone after the next start, and those of processes that
// live are not.
func TestTempDir(t *testing.T) {
	const prefix = "left-"
	if os.Getenv("PRIVATEBUS_LEAVE") != "" {
		if _, _, err := TempDir(prefix); err != nil {
			t.Fatal(err)
		}
		return // without remove, as a process that is killed
	}
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	names := func() (out []string) {
		entries, err := os.ReadDir(tmp)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return out
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestTempDir$")
	cmd.Env = append(os.Environ(), "PRIVATEBUS_LEAVE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := names(); len(got) != 1 || !strings.HasPrefix(got[0], prefix) {
		t.Fatalf("the other process left %q", got)
	}
	if err := os.Mkdir(filepath.Join(tmp, prefix+"open"), 0o755); err != nil { // not made by TempDir
		t.Fatal(err)
	}
	first, removeFirst, err := TempDir(prefix)
	if err != nil {
		t.Fatal(err)
	}
	second, removeSecond, err := TempDir(prefix)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(first); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if got := names(); len(got) != 3 {
		t.Errorf("there are %q, want %s, %s and the one of others", got, first, second)
	}
	removeFirst()
	removeSecond()
	if got := names(); len(got) != 1 || got[0] != prefix+"open" {
		t.Errorf("left: %q", got)
	}
}

// A bus leaves nothing in the folder for temporary files, removes the hidden socket of one that was killed, and does
// not complain about its own reload.
func TestNothingLeft(t *testing.T) {
	needDaemon(t)
	tmp, dir := shortDir(t), shortDir(t)
	t.Setenv("TMPDIR", tmp)
	path := filepath.Join(dir, "bus")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: hiddenPrefix(path) + "KILLED"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	var logged syncBuffer
	b, err := Reserve(context.Background(), path, slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Stop()
	if left, _ := filepath.Glob(hiddenPrefix(path) + "KILLED"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	owner, err := dbus.Connect(b.Hidden())
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	if err := b.Publish(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); !strings.Contains(logged.String(), reloaded); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("it does not say that it reloaded:\n%s", logged.String())
		}
	}
	b.Stop()
	if strings.Contains(logged.String(), "level=WARN") {
		t.Errorf("it complains:\n%s", logged.String())
	}
	if entries, err := os.ReadDir(tmp); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// syncBuffer is a goroutine-safe buffer.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
