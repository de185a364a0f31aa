package daemon

import (
	"context"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// serveWatchdog tells systemd every half of WatchdogSec= that the daemon lives, for as long as the loop that
// serves the bus answers: a daemon that hangs is killed and started again. Without a watchdog it does nothing.
func (d *Daemon) serveWatchdog(ctx context.Context) error {
	limit, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		d.log.Warn("The watchdog that systemd asks for cannot be served", "error", err)
		return nil
	}
	if limit > 0 {
		watchdog(ctx, limit/2, d.conn.Do, func() { d.notify(systemd.SdNotifyWatchdog) })
	}
	return nil
}

// watchdog calls alive every interval in which do ran a function, until ctx ends.
func watchdog(ctx context.Context, interval time.Duration, do func(context.Context, func()) error, alive func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := do(ctx, func() {}); err == nil {
			alive()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
