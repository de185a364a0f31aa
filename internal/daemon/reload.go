package daemon

import (
	"reflect"
	"time"

	"bluez-esphome/internal/adapters"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/store"
)

// config is the present configuration. No part of the daemon asks for another one.
func (d *Daemon) config() *config.Config { return d.live.Load() }

// Reload applies another configuration to a Daemon that runs: proxies that are new, gone or changed, those that are
// found by themselves, adapters of their own, the rules of devices, and how the proxies are shared. Every other proxy
// keeps its session, and every client its connection. What else changed is named in the log: it takes effect with the
// next start. Before the Daemon runs it does nothing.
func (d *Daemon) Reload(cfg *config.Config) {
	select {
	case <-d.started:
	default:
		return
	}
	for _, w := range cfg.Warnings {
		d.log.Warn(w)
	}
	old := d.live.Swap(cfg)
	d.finder.Apply(cfg) // before the proxies, whose names it resolves
	added, removed := d.proxies.Apply()
	if cfg.Adapters == config.AdaptersPerProxy && old.Adapters != cfg.Adapters {
		d.grown.Store(true)
		d.knownAdapters(d.addAdapter)
		d.proxies.Settle()
	}
	d.sharing.Apply(cfg.Share)
	d.controllers.Apply(cfg)
	d.stream.Apply(cfg.MQTT)
	d.conn.Post(func() { d.shown.Show(len(cfg.HCI) > 0) })
	d.log.Info("The configuration was read again", "reload", d.reloads.Add(1), "added", added, "removed", removed)
	later := needRestart(d.opts.Config, cfg, d.grown.Load())
	d.onDisk.Load().Applied(later)
	if len(later) > 0 {
		d.log.Warn("Some changes take effect only when the daemon is started again", "keys", later)
	}
}

// ReloadFailed says that a configuration has mistakes: everything stays as it is. As in what Reload says, the number
// makes each line another one, so that none is held back as a repeat: somebody waits for it.
func (d *Daemon) ReloadFailed(err error) {
	d.log.Error("The configuration has mistakes; nothing was changed", "reload", d.reloads.Add(1), "error", err)
	d.onDisk.Load().Failed(err, time.Now())
}

// needRestart lists the keys that differ between what the daemon was started with and cfg, and that a reload does not
// apply. grown says that a reload has added adapters.
func needRestart(started, cfg *config.Config, grown bool) []string {
	var keys []string
	for _, c := range []struct {
		key  string
		a, b any
	}{
		{"bus", started.Bus, cfg.Bus},
		{"state_dir", started.StateDir, cfg.StateDir},
		{"adapter_alias", started.AdapterAlias, cfg.AdapterAlias},
		{"link", started.Link, cfg.Link},
		{"connect", started.Connect, cfg.Connect},
		{"max_devices", started.MaxDevices, cfg.MaxDevices},
		{"http", started.HTTP, cfg.HTTP},
		{"log", started.Log, cfg.Log},
	} {
		if !reflect.DeepEqual(c.a, c.b) {
			keys = append(keys, c.key)
		}
	}
	// Adapters are added by a reload; none is taken away from clients that use it.
	if (grown || started.Adapters == config.AdaptersPerProxy) && cfg.Adapters == config.AdaptersMerged {
		keys = append(keys, "adapters")
	}
	return keys
}

// knownAdapters calls publish for the adapters of configured proxies that had one in an earlier run: they are there
// before the proxy is online again. With auto_add every proxy may come.
func (d *Daemon) knownAdapters(publish func(*adapters.Own, store.ProxyInfo)) {
	cfg := d.config()
	d.adapters.Known(func(mac ble.Address, info store.ProxyInfo) bool {
		if cfg.AutoAdd != nil {
			return true
		}
		for _, p := range cfg.Proxies {
			if p.HasMAC && p.MAC == mac || fleet.HostPort(p) == info.Endpoint {
				return true
			}
		}
		return false
	}, publish)
}
