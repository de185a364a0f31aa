package bluezshim

import (
	"context"
	"fmt"
	"strings"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"

	"github.com/godbus/dbus/v5"
)

// An adapter is one hciN: the merged view of all proxies, or one proxy's.
type adapter struct {
	shim *Shim
	cfg  AdapterConfig
	obj  *dbusobj.Object
	st   AdapterState

	powered      bool
	powerState   string
	discoverable bool
	connectable  bool
	discovering  bool
	pairable     bool   // follows whether any agent is registered; never stored
	discoverEnd  func() // stops DiscoverableTimeout; nil: it does not run
	offline      bool   // its proxy is

	sessions map[string]*session // by unique name: discovering, or with a filter for later
	devices  map[ble.Address]*device
}

func newAdapter(s *Shim, cfg AdapterConfig) *adapter {
	a := &adapter{
		shim: s, cfg: cfg, st: s.store.Adapter(cfg.Index), powerState: "on",
		sessions: map[string]*session{}, devices: map[ble.Address]*device{}, offline: cfg.Offline,
	}
	a.powered = !a.st.Off && !a.offline
	if !a.powered {
		a.powerState = "off"
	}
	path := dbus.ObjectPath(fmt.Sprintf("/org/bluez/hci%d", cfg.Index))
	a.obj = s.conn.Add(path, a, s.ifaces.adapter, s.ifaces.advertisingManager, s.ifaces.monitorManager)
	return a
}

// update takes what the adapter's proxy says of itself, now that it is online.
func (a *adapter) update(ac AdapterConfig) {
	if a.cfg.Address != ac.Address {
		a.cfg.Address = ac.Address
		a.changed("Address")
	}
	if a.cfg.Name != ac.Name {
		a.cfg.Name = ac.Name
		a.changed("Name")
		if a.st.Alias == "" {
			a.changed("Alias")
		}
	}
	a.cfg.Via = ac.Via
}

// gather is how far apart reports are taken at least. What comes after a pause is taken at once; in a flood many
// signals share a wake-up, which costs more than they do.
const gather = 2 * time.Millisecond

// watch passes what the air has to say into the loop, one posted function at a time, so that
// a slow bus makes reports coalesce and never queue.
func (a *adapter) watch(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-a.cfg.Air.Changed():
		}
		pause.Reset(gather)
		if a.shim.conn.DoHelp(ctx, a.take) != nil {
			return
		}
	}
}

// take signals all that the air has to say.
func (a *adapter) take() {
	delay := a.shim.delay
	if delay == nil {
		a.cfg.Air.Take(a.report)
		return
	}
	var heard []time.Time
	a.cfg.Air.Take(func(r *ble.Report) {
		a.report(r)
		if !r.Since.IsZero() {
			heard = append(heard, r.Since)
		}
	})
	a.shim.conn.Flush()
	now := a.shim.clock.Now()
	for _, t := range heard {
		delay(max(0, now.Sub(t)))
	}
}

func (a *adapter) save() { a.shim.store.SetAdapter(a.cfg.Index, a.st) }

func (a *adapter) changed(props ...string) { a.obj.Changed(a.shim.ifaces.adapter, props...) }

func (a *adapter) alias() string {
	if a.st.Alias != "" {
		return a.st.Alias
	}
	return a.cfg.Name
}

func (a *adapter) clientGone(sender string) {
	if s := a.sessions[sender]; s != nil {
		delete(a.sessions, sender)
		if s.discovering {
			a.discoveryChanged()
		}
	}
}

// deviceByPath finds a device of this adapter; bluetoothd compares the path without regard to case.
func (a *adapter) deviceByPath(path dbus.ObjectPath) *device {
	rest, ok := cutPrefixFold(string(path), string(a.obj.Path())+"/dev_")
	if !ok {
		return nil
	}
	addr, err := ble.ParseAddress(strings.ReplaceAll(rest, "_", ":"))
	if err != nil {
		return nil
	}
	return a.devices[addr]
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

func (a *adapter) removeDevice(c *dbusobj.Call) {
	d := a.deviceByPath(c.Body[0].(dbus.ObjectPath))
	switch {
	case d == nil:
		errDoesNotExist.to(c)
	case !a.powered:
		errNotReady.to(c)
	case len(d.peer.disconnecting) >= maxShared:
		errInProgress.to(c)
	default:
		d.peer.removeByUser(func() { c.Reply() })
	}
}

// discoverableOff ends Discoverable by itself after DiscoverableTimeout, as bluetoothd does.
func (a *adapter) discoverableOff() {
	if a.discoverable {
		a.discoverable, a.connectable = false, false
		a.changed("Connectable", "Discoverable")
	}
}

func (a *adapter) setDiscoverable(on bool) {
	a.discoverable = on
	if a.connectable != on {
		a.connectable = on
		a.changed("Connectable")
	}
	a.changed("Discoverable")
	a.restartDiscoverableTimer()
}

func (a *adapter) stopDiscoverableTimer() {
	if a.discoverEnd != nil {
		a.discoverEnd()
		a.discoverEnd = nil
	}
}

func (a *adapter) restartDiscoverableTimer() {
	a.stopDiscoverableTimer()
	if a.discoverable && a.st.DiscoverableTimeout > 0 {
		a.discoverEnd = a.shim.clock.AfterFunc(time.Duration(a.st.DiscoverableTimeout)*time.Second, func() {
			a.shim.conn.Post(a.discoverableOff)
		})
	}
}
