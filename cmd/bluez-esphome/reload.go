package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bluez-esphome/internal/config"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
)

// A reloader takes another configuration, or why there is none.
type reloader interface {
	Reload(cfg *config.Config)
	ReloadFailed(err error)
}

// reload reads the configuration again at each SIGHUP once the daemon is ready; one with mistakes changes nothing.
// report is told the outcome of each.
func reload(ctx context.Context, ready <-chan struct{}, hup <-chan os.Signal, load func() (*config.Config, error), d reloader, report func(error)) {
	select {
	case <-ctx.Done():
		return
	case <-ready:
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		cfg, err := load()
		if err == nil {
			d.Reload(cfg)
		} else {
			d.ReloadFailed(err)
		}
		report(err)
	}
}

// A verdict is what a daemon says of the newest reload.
type verdict struct {
	PID    int    `json:"pid"`
	Mark   string `json:"mark"` // tells one from the next
	Failed string `json:"failed,omitempty"`
}

// maxVerdict bounds the file, in bytes.
const maxVerdict = 1 << 20

// verdictFile is where the verdict stands: in the unit's state folder, which systemd names to the daemon and to what
// reloads it. It is empty without systemd, where nobody waits for a reload.
func verdictFile() string {
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "reload.json")
	}
	return ""
}

// reportVerdict notes the outcome of a reload.
func reportVerdict(err error) {
	file := verdictFile()
	if file == "" {
		return
	}
	v := verdict{PID: os.Getpid(), Mark: rand.Text()}
	if err != nil {
		v.Failed = err.Error()
	}
	if b, merr := json.Marshal(v); merr == nil {
		// else the reload ends with a time-out
		_ = renameio.WriteFile(file, b, 0o600, renameio.WithTempDir(filepath.Dir(file)))
	}
}

func readVerdict() (v verdict) {
	info, err := os.Stat(verdictFile())
	if err != nil || info.Size() > maxVerdict {
		return v
	}
	if b, err := os.ReadFile(verdictFile()); err == nil {
		_ = json.Unmarshal(b, &v)
	}
	return v
}

const (
	reloadTimeout = 30 * time.Second
	reloadPoll    = 20 * time.Millisecond
)

// askReload has the daemon with that process id read its configuration again, and returns what it says of that. It
// reads no configuration itself: only the daemon has its credentials.
func askReload(ctx context.Context, pid int, kill func(int, syscall.Signal) error) error {
	if verdictFile() == "" {
		return &usageError{errors.New("reload is for systemd's ExecReload=: STATE_DIRECTORY is not set; send the daemon SIGHUP and see its log")}
	}
	before := readVerdict()
	if err := kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("cannot signal the daemon, process %d: %w", pid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	tick := time.NewTicker(reloadPoll)
	defer tick.Stop()
	for {
		if v := readVerdict(); v.PID == pid && v != before {
			if v.Failed != "" {
				return &configError{errors.New(v.Failed)}
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the daemon, process %d, does not say whether it read its configuration again: see its log", pid)
		}
	}
}

func newReload() *cobra.Command {
	var pid int
	c := &cobra.Command{
		Use: "reload", Short: "make the daemon of a unit read its configuration again, and say what is wrong with it",
		Long: `reload is what systemctl reload runs: it sends SIGHUP to the daemon with that process id, waits for its verdict, and fails with
the mistakes that the daemon found. It finds the verdict in the folder that STATE_DIRECTORY names.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if pid <= 0 {
				return &usageError{errors.New("reload wants --pid, the process id of the daemon")}
			}
			return askReload(c.Context(), pid, syscall.Kill)
		},
	}
	c.Flags().IntVar(&pid, "pid", 0, "process id of the daemon")
	return c
}
