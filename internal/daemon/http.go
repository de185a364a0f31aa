package daemon

import (
	"context"
	"time"

	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/web"
)

// listenHTTP takes the address of http.listen, if one is set, and makes the metrics. Without it nothing is measured.
func (d *Daemon) listenHTTP(ctx context.Context) error {
	listen := d.config().HTTP.Listen
	if listen == "" && d.opts.Listener == nil {
		return nil
	}
	d.metrics = web.NewMetrics(d.opts.Version)
	var err error
	d.web, err = web.Listen(ctx, web.Config{
		Listen: listen, Listener: d.opts.Listener, Source: d.overview.Source(), Metrics: d.metrics, Logger: d.log,
		Version: d.opts.Version, Profiles: d.opts.Profiles,
	})
	return err
}

// serveHTTP answers until ctx ends. A failure is logged: nobody who uses org.bluez is to suffer from it.
func (d *Daemon) serveHTTP(ctx context.Context) error {
	if d.web == nil {
		return nil
	}
	d.log.Info("Metrics, health and the live page are served", "url", d.web.URL(), "pprof", d.opts.Profiles)
	if err := d.web.Run(ctx); err != nil {
		d.log.Error("The HTTP listener ended", "error", err)
	}
	return nil
}

// HTTP is the address of the live page, empty if there is no listener; for use once Ready was called.
func (d *Daemon) HTTP() string {
	if d.web == nil {
		return ""
	}
	return d.web.URL()
}

// The hooks of the packages are nil while nobody can ask for the metrics.

func (d *Daemon) answered() func(iface, member, errName string) {
	if d.metrics == nil {
		return nil
	}
	return d.metrics.Answered
}

func (d *Daemon) signalled() func(time.Duration) {
	if d.metrics == nil {
		return nil
	}
	return d.metrics.Signalled
}

func (d *Daemon) measured() func(gatt.Operation, time.Duration, error) {
	m := d.metrics
	if m == nil {
		return nil
	}
	return func(op gatt.Operation, took time.Duration, err error) {
		switch op {
		case gatt.OperationConnect:
			m.Connected(took, err)
		case gatt.OperationRead:
			m.Read(took, err)
		case gatt.OperationWrite:
			m.Written(took, err)
		}
	}
}
