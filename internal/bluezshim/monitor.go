package bluezshim

import (
	"maps"
	"slices"
	"strings"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"

	"github.com/godbus/dbus/v5"
)

const (
	monitorInterface = "org.bluez.AdvertisementMonitor1"
	objectManager    = "org.freedesktop.DBus.ObjectManager"
)

// Bounds of what local callers can have every advertisement compared with.
const (
	maxMonitorApps = 256 // each may need a match rule, of 512 that the system bus lets us have
	maxMonitors    = 64  // of one application
	maxRoot        = 512 // octets of its path; the bus takes match rules of up to 1024
)

// monitorCallTimeout is how long an application may take to list its monitors; RegisterMonitor is then answered
// all the same.
const monitorCallTimeout = 10 * time.Second

// monitorTable is all registered monitor applications.
type monitorTable struct {
	apps []*monitorApp
	byID map[uint64]*monitor
	last uint64
}

// A monitorApp is one (sender, root) that was registered on an adapter.
type monitorApp struct {
	shim     *Shim
	adapter  *adapter
	sender   string
	root     dbus.ObjectPath
	call     *dbusobj.Call // RegisterMonitor's, until it is answered
	complete bool          // the application has listed its monitors
	monitors map[dbus.ObjectPath]*monitor
	cancel   []func()
}

// A monitor is one AdvertisementMonitor1 object of an application.
type monitor struct {
	id    uint64
	app   *monitorApp
	path  dbus.ObjectPath
	def   ble.Monitor
	found map[ble.Address]struct{} // and not lost; nil without RSSI parameters
}

// newMonitorManagerInterface makes org.bluez.AdvertisementMonitorManager1 of bluetoothd 5.87, which hides it unless
// experimental; here it is always there.
func newMonitorManagerInterface() *dbusobj.Interface {
	return &dbusobj.Interface{
		Name: "org.bluez.AdvertisementMonitorManager1",
		Methods: []dbusobj.Method{
			{Name: "RegisterMonitor", In: []dbusobj.Arg{{Name: "application", Type: "o"}}, Call: adapterMethod((*adapter).registerMonitor)},
			{Name: "UnregisterMonitor", In: []dbusobj.Arg{{Name: "application", Type: "o"}}, Call: adapterMethod((*adapter).unregisterMonitor)},
		},
		Properties: []dbusobj.Property{
			{Name: "SupportedMonitorTypes", Type: "as", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Strings([]string{orPatterns}) }},
			{Name: "SupportedFeatures", Type: "as", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Strings(nil) }},
		},
	}
}

func (a *adapter) findApp(sender string, root dbus.ObjectPath) int {
	return slices.IndexFunc(a.shim.monitors.apps, func(app *monitorApp) bool {
		return app.adapter == a && app.sender == sender && app.root == root
	})
}

// registerMonitor asks the application for its monitors and replies when it has answered, whatever it says
// (bluetoothd 5.87).
func (a *adapter) registerMonitor(c *dbusobj.Call) {
	root := c.Body[0].(dbus.ObjectPath)
	s := a.shim
	switch {
	case a.findApp(c.Sender, root) >= 0:
		errAlreadyExists.to(c)
		return
	case !s.monitors.mayRegister(c.Sender), len(root) > maxRoot:
		errFailed("Failed to create Adv Monitor app").to(c)
		return
	}
	app := &monitorApp{shim: s, adapter: a, sender: c.Sender, root: root, call: c, monitors: map[dbus.ObjectPath]*monitor{}}
	s.monitors.apps = append(s.monitors.apps, app)
	s.watchClient(c.Sender)
	app.cancel = []func(){
		s.conn.WatchSignal(c.Sender, root, objectManager, "InterfacesAdded", app.interfacesAdded),
		s.conn.WatchSignal(c.Sender, root, objectManager, "InterfacesRemoved", app.interfacesRemoved),
	}
	s.conn.Call(c.Sender, root, objectManager, "GetManagedObjects", "", nil, monitorCallTimeout, func(body []any, err error) {
		app.listed(body, err)
	})
}

func (app *monitorApp) listed(body []any, err error) {
	if app.call == nil {
		return // unregistered meanwhile
	}
	app.complete = true
	var added []*monitor
	some := err != nil
	if err == nil && len(body) == 1 {
		objects, _ := body[0].(map[dbus.ObjectPath]map[string]map[string]dbus.Variant)
		for _, path := range slices.Sorted(maps.Keys(objects)) {
			if props, ok := objects[path][monitorInterface]; ok && under(path, app.root) {
				some = true
				if m := app.add(path, props); m != nil {
					added = append(added, m)
				}
			}
		}
	}
	if !some && app.mayHold() {
		app.hold()
		return
	}
	app.answer()
	for _, m := range added {
		m.send("Activate", nil)
	}
}

// answer ends RegisterMonitor, if it is not answered yet.
func (app *monitorApp) answer() {
	if app.call != nil {
		app.call.Reply()
		app.call = nil
	}
}

// add takes a monitor object; invalid ones are released and forgotten (bluetoothd 5.87).
func (app *monitorApp) add(path dbus.ObjectPath, props map[string]dbus.Variant) *monitor {
	if app.monitors[path] != nil {
		return nil
	}
	m := &monitor{app: app, path: path}
	def, ok := parseMonitor(props)
	if !ok || len(app.monitors) >= maxMonitors || !app.shim.monitors.roomFor(app.sender, len(def.Patterns)) {
		m.send("Release", nil)
		return nil
	}
	t := &app.shim.monitors
	t.last++
	m.id = t.last
	if t.byID == nil {
		t.byID = map[uint64]*monitor{}
	}
	t.byID[m.id] = m
	app.monitors[path] = m
	m.def = def
	if app.adapter.powered {
		app.adapter.cfg.Air.AddMonitor(m.id, def)
	}
	return m
}

func (app *monitorApp) interfacesAdded(body []any) {
	if len(body) != 2 || !app.complete { // what is there already comes with the list
		return
	}
	path, _ := body[0].(dbus.ObjectPath)
	ifaces, _ := body[1].(map[string]map[string]dbus.Variant)
	props, ok := ifaces[monitorInterface]
	if !ok || !under(path, app.root) {
		return
	}
	app.answer()
	if m := app.add(path, props); m != nil {
		m.send("Activate", nil)
	}
}

// under: bluetoothd compares the paths as strings, so that the root itself may be a monitor.
func under(path, root dbus.ObjectPath) bool {
	return strings.HasPrefix(string(path), string(root))
}

func (app *monitorApp) interfacesRemoved(body []any) {
	if len(body) != 2 {
		return
	}
	path, _ := body[0].(dbus.ObjectPath)
	ifaces, _ := body[1].([]string)
	if m := app.monitors[path]; m != nil && slices.Contains(ifaces, monitorInterface) {
		m.drop()
	}
}

func (a *adapter) unregisterMonitor(c *dbusobj.Call) {
	i := a.findApp(c.Sender, c.Body[0].(dbus.ObjectPath))
	if i < 0 {
		errDoesNotExist.to(c)
		return
	}
	app := a.shim.monitors.apps[i]
	if app.complete {
		app.answer()
	}
	for _, path := range slices.Sorted(maps.Keys(app.monitors)) {
		app.monitors[path].send("Release", nil)
	}
	app.destroy()
	c.Reply()
}

// destroy forgets an application and stops its matching.
func (app *monitorApp) destroy() {
	if app.call != nil {
		errFailed("Adv Monitor app destroyed").to(app.call)
		app.call = nil
	}
	for _, cancel := range app.cancel {
		cancel()
	}
	for _, m := range app.monitors {
		m.drop()
	}
	t := &app.shim.monitors
	t.apps = slices.DeleteFunc(t.apps, func(x *monitorApp) bool { return x == app })
}

func (m *monitor) drop() {
	delete(m.app.monitors, m.path)
	delete(m.app.shim.monitors.byID, m.id)
	m.app.adapter.cfg.Air.RemoveMonitor(m.id)
}

// send calls the monitor object; no reply is asked for, as in bluetoothd.
func (m *monitor) send(member string, device *device) {
	sig, args := "", (func(*dbusobj.Encoder))(nil)
	if device != nil {
		sig, args = "o", func(e *dbusobj.Encoder) { e.ObjectPath(device.path) }
	}
	m.app.shim.conn.Call(m.app.sender, m.path, monitorInterface, member, sig, args, 0, nil)
}

// event tells a monitor about a device, unless the device was removed meanwhile.
func (t *monitorTable) event(ev ble.MonitorEvent, addr ble.Address, d *device) {
	m := t.byID[ev.Monitor]
	if m == nil {
		return
	}
	if ev.Lost {
		delete(m.found, addr)
	}
	if d == nil {
		return
	}
	if ev.Lost {
		m.send("DeviceLost", d)
		return
	}
	if m.def.Tracks {
		if m.found == nil {
			m.found = map[ble.Address]struct{}{}
		}
		m.found[addr] = struct{}{}
	}
	m.send("DeviceFound", d)
}

func (t *monitorTable) clientGone(sender string) {
	for _, app := range slices.Clone(t.apps) {
		if app.sender == sender {
			app.destroy()
		}
	}
}

func (t *monitorTable) releaseAll() {
	for _, app := range slices.Clone(t.apps) {
		for _, m := range app.monitors {
			m.send("Release", nil)
		}
	}
}
