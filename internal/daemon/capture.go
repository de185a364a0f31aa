package daemon

import "context"

// offerCaptures listens for those who want captures. Without them the daemon works all the same.
func (d *Daemon) offerCaptures() {
	s, err := d.tap.Serve(d.config().StateDir, d.log)
	if err != nil {
		d.log.Warn("The command capture does not reach this daemon", "error", err)
		return
	}
	d.captures = s
}

func (d *Daemon) serveCaptures(ctx context.Context) error {
	if d.captures == nil { // none are offered
		<-ctx.Done()
		return nil
	}
	return d.captures.Run(ctx)
}
