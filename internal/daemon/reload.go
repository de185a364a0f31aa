package daemon

import (
	"reflect"
	"slices"
	"sync/atomic"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/gatt"
)

// liveRules are the rules of the present configuration; a reload replaces them.
type liveRules struct {
	rules  atomic.Pointer[func(ble.Address) gatt.Rule]
	noSlot atomic.Pointer[func(string) gatt.NoSlot]
}

func (l *liveRules) set(cfg *config.Config) {
	rules, noSlot := rulesOf(cfg.Devices), noSlotOf(cfg.Proxies)
	l.rules.Store(&rules)
	l.noSlot.Store(&noSlot)
}

func (l *liveRules) rule(a ble.Address) gatt.Rule     { return (*l.rules.Load())(a) }
func (l *liveRules) onNoSlot(name string) gatt.NoSlot { return (*l.noSlot.Load())(name) }

// Reload applies another configuration to a Daemon that runs: proxies that are new, gone or
// changed, the rules of devices, and how the proxies are shared. Every other proxy keeps its session, and every client its
// connection. What else changed is named in the log: it takes effect with the next start.
// Before the Daemon runs it does nothing.
func (d *Daemon) Reload(cfg *config.Config) {
	select {
	case <-d.started:
	default:
		return
	}
	for _, w := range cfg.Warnings {
		d.log.Warn(w)
	}
	added, removed := d.proxies.replace(cfg.Proxies)
	d.live.set(cfg)
	d.sharing.reload(cfg.Share)
	d.log.Info("The configuration was read again", "reload", d.reloads.Add(1), "added", added, "removed", removed)
	if later := needRestart(d.opts.Config, cfg); len(later) > 0 {
		d.log.Warn("Some changes take effect only when the daemon is started again", "keys", later)
	}
}

// ReloadFailed says that a configuration has mistakes: everything stays as it is. As in what Reload says, the number makes each line
// another one, so that none is held back as a repeat: somebody waits for it.
func (d *Daemon) ReloadFailed(err error) {
	d.log.Error("The configuration has mistakes; nothing was changed", "reload", d.reloads.Add(1), "error", err)
}

// needRestart lists the keys that differ and that a reload does not apply.
func needRestart(old, cfg *config.Config) []string {
	var keys []string
	for _, c := range []struct {
		key  string
		a, b any
	}{
		{"bus", old.Bus, cfg.Bus},
		{"state_dir", old.StateDir, cfg.StateDir},
		{"adapters", old.Adapters, cfg.Adapters},
		{"adapter_alias", old.AdapterAlias, cfg.AdapterAlias},
		{"auto_add", old.AutoAdd, cfg.AutoAdd},
		{"link", old.Link, cfg.Link},
		{"connect", old.Connect, cfg.Connect},
		{"max_devices", old.MaxDevices, cfg.MaxDevices},
		{"http", old.HTTP, cfg.HTTP},
		{"log", old.Log, cfg.Log},
	} {
		if !reflect.DeepEqual(c.a, c.b) {
			keys = append(keys, c.key)
		}
	}
	return keys
}

// replace makes the configured proxies those of list. A proxy that changed in any way is
// stopped and a new one takes its place; the others are not touched.
func (s *proxySet) replace(list []config.Proxy) (added, removed int) {
	var fresh []config.Proxy
	keep := map[*proxy]bool{}
	present := s.all()
	for _, pc := range list {
		i := slices.IndexFunc(present, func(p *proxy) bool { return p.auto == "" && !keep[p] && sameProxy(p.cfg, pc) })
		if i < 0 {
			fresh = append(fresh, pc)
			continue
		}
		keep[present[i]] = true
	}
	left := map[string]*proxy{}
	for _, p := range present {
		if p.auto == "" && !keep[p] {
			s.leave(p)
			left[hostPort(p.cfg)] = p
			removed++
		}
	}
	for _, pc := range fresh {
		p, err := s.make(pc)
		if err != nil {
			s.d.log.Error("A configured proxy cannot be used", "error", err)
			continue
		}
		if old := left[hostPort(pc)]; old != nil {
			p.Inherit(old.Proxy)
		}
		s.d.conn.Post(func() { // after those that leave: it may have the name of one
			s.mu.Lock()
			if pc.Name != "" {
				s.names[pc.Name] = p
			}
			s.mu.Unlock()
		})
		s.join(p)
		added++
	}
	return added, removed
}

// sameProxy compares what is configured; where it stands in the file does not count.
func sameProxy(a, b config.Proxy) bool {
	a.Line, b.Line = 0, 0
	return reflect.DeepEqual(a, b)
}
