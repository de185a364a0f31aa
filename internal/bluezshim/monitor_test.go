package bluezshim_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
	"bluez-esphome/internal/dbusobj"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

const root = "/golden/app"

// monitorApp is a client with monitors, on our own object tree so that the calls it gets stay in order.
type monitorApp struct {
	t     testing.TB
	h     *harness
	conn  *dbusobj.Conn
	om    *dbusobj.Interface
	calls chan string
	list  func(*dbusobj.Call) // answers GetManagedObjects
	leave func()
}

// monitorProps writes the properties of one monitor.
type monitorProps []monitorProp

type monitorProp struct {
	name, sig string
	put       func(*dbusobj.Encoder)
}

func (m monitorProps) put(e *dbusobj.Encoder) {
	e.Array("{sv}", func() {
		for _, p := range m {
			e.Entry(func() { e.String(p.name); e.Variant(p.sig, func() { p.put(e) }) })
		}
	})
}

func typeProp(s string) monitorProp {
	return monitorProp{"Type", "s", func(e *dbusobj.Encoder) { e.String(s) }}
}

func patternsProp(list ...ble.MonitorPattern) monitorProp {
	return monitorProp{"Patterns", "a(yyay)", func(e *dbusobj.Encoder) {
		e.Array("(yyay)", func() {
			for _, p := range list {
				e.Struct(func() { e.Byte(p.Start); e.Byte(p.Type); e.Bytes(p.Content) })
			}
		})
	}}
}

func int16Prop(name string, v int16) monitorProp {
	return monitorProp{name, "n", func(e *dbusobj.Encoder) { e.Int16(v) }}
}

func uint16Prop(name string, v uint16) monitorProp {
	return monitorProp{name, "q", func(e *dbusobj.Encoder) { e.Uint16(v) }}
}

var flagsPattern = ble.MonitorPattern{Type: 1, Content: []byte{6}}

func valid(more ...monitorProp) monitorProps {
	return append(monitorProps{typeProp("or_patterns"), patternsProp(flagsPattern)}, more...)
}

func (h *harness) monitorApp() *monitorApp {
	h.t.Helper()
	conn, err := dbusobj.Dial(context.Background(), dbusobj.Config{Address: h.addr, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		h.t.Fatal(err)
	}
	m := &monitorApp{t: h.t, h: h, conn: conn, calls: make(chan string, 4096), list: m0}
	note := func(c *dbusobj.Call) {
		line := c.Member + " " + string(c.Path)
		for _, v := range c.Body {
			line += " " + value(v)
		}
		m.calls <- line
		c.Reply()
	}
	dev := []dbusobj.Arg{{Name: "device", Type: "o"}}
	iface := &dbusobj.Interface{Name: "org.bluez.AdvertisementMonitor1", Methods: []dbusobj.Method{
		{Name: "Release", Call: note}, {Name: "Activate", Call: note},
		{Name: "DeviceFound", In: dev, Call: note}, {Name: "DeviceLost", In: dev, Call: note},
	}}
	m.om = &dbusobj.Interface{
		Name: "org.freedesktop.DBus.ObjectManager",
		Methods: []dbusobj.Method{{
			Name: "GetManagedObjects", Out: []dbusobj.Arg{{Name: "o", Type: "a{oa{sa{sv}}}"}},
			Call: func(c *dbusobj.Call) { m.list(c) },
		}},
		Signals: []dbusobj.Signal{
			{Name: "InterfacesAdded", Args: []dbusobj.Arg{{Name: "o", Type: "o"}, {Name: "i", Type: "a{sa{sv}}"}}},
			{Name: "InterfacesRemoved", Args: []dbusobj.Arg{{Name: "o", Type: "o"}, {Name: "i", Type: "as"}}},
		},
	}
	conn.Add(root, nil, m.om)
	for i := range 3 {
		conn.Add(dbus.ObjectPath(fmt.Sprint(root, "/m", i)), nil, iface)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = conn.Run(ctx)
	}()
	m.leave = func() {
		cancel()
		<-ended
	}
	h.t.Cleanup(m.leave)
	return m
}

func m0(c *dbusobj.Call) { listed(c, nil) }

// listed answers GetManagedObjects.
func listed(c *dbusobj.Call, objects map[string]monitorProps) {
	c.Reply(func(e *dbusobj.Encoder) {
		e.Array("{oa{sa{sv}}}", func() {
			for path, props := range objects {
				e.Entry(func() { e.ObjectPath(dbus.ObjectPath(path)); ifaces(e, props) })
			}
		})
	})
}

func ifaces(e *dbusobj.Encoder, props monitorProps) {
	e.Array("{sa{sv}}", func() {
		e.Entry(func() { e.String("org.bluez.AdvertisementMonitor1"); props.put(e) })
	})
}

// has says what GetManagedObjects lists.
func (m *monitorApp) has(objects map[string]monitorProps) {
	m.list = func(c *dbusobj.Call) { listed(c, objects) }
}

// manager calls RegisterMonitor or UnregisterMonitor.
func (m *monitorApp) manager(method, path string) string {
	m.t.Helper()
	ch := make(chan error, 1)
	m.conn.Post(func() {
		m.conn.Call("org.bluez", "/org/bluez/hci0", "org.bluez.AdvertisementMonitorManager1", method, "o",
			func(e *dbusobj.Encoder) { e.ObjectPath(dbus.ObjectPath(path)) }, patience, func(_ []any, err error) { ch <- err })
	})
	select {
	case err := <-ch:
		return errorLine(err)
	case <-time.After(patience):
		m.t.Fatal("no answer")
		return ""
	}
}

// emit sends InterfacesAdded, or InterfacesRemoved if props is nil, from the root.
func (m *monitorApp) emit(path string, props monitorProps) {
	m.t.Helper()
	if err := m.conn.Do(context.Background(), func() {
		o := m.conn.Object(root)
		if props == nil {
			o.Emit(m.om, "InterfacesRemoved", func(e *dbusobj.Encoder) {
				e.ObjectPath(dbus.ObjectPath(path))
				e.Strings([]string{"org.bluez.AdvertisementMonitor1"})
			})
			return
		}
		o.Emit(m.om, "InterfacesAdded", func(e *dbusobj.Encoder) { e.ObjectPath(dbus.ObjectPath(path)); ifaces(e, props) })
	}); err != nil {
		m.t.Fatal(err)
	}
}

// want compares the calls that the application got, once all is done.
func (m *monitorApp) want(lines ...string) {
	m.t.Helper()
	for range 2 { // there and back
		ch := make(chan struct{})
		m.conn.Post(func() {
			m.conn.Call("org.bluez", "/", "org.freedesktop.DBus.Peer", "Ping", "", nil, patience, func([]any, error) { close(ch) })
		})
		<-ch
		m.h.do(func() {})
	}
	var got []string
	for len(m.calls) > 0 {
		got = append(got, <-m.calls)
	}
	if diff := cmp.Diff(lines, got); diff != "" && len(lines)+len(got) > 0 {
		m.t.Fatalf("calls of the application (-want +got):\n%s", diff)
	}
}

// TestMonitors is recorded of bluetoothd 5.87 with experimental interfaces, advertisement_monitor.
func TestMonitors(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	app := h.monitorApp()
	app.has(map[string]monitorProps{root + "/m0": valid(int16Prop("RSSIHighThreshold", -60)), "/elsewhere": valid()})
	check(t, "register", app.manager("RegisterMonitor", root), "")
	app.want("Activate " + root + "/m0")
	check(t, "again", app.manager("RegisterMonitor", root), "AlreadyExists: Already Exists")
	check(t, "in the air", h.air[0].Monitors(), map[uint64]ble.Monitor{1: {
		Patterns: []ble.MonitorPattern{flagsPattern}, Tracks: true, RSSILow: -127, RSSIHigh: -60, LowTimeout: 5 * time.Second, HighTimeout: 10 * time.Second,
	}})
	r := heard(dev1, plain("One"))
	r.Discovered, r.Monitored, r.Events = false, true, []ble.MonitorEvent{{Monitor: 1}, {Monitor: 99}}
	h.air[0].Report(t, r)
	c.want("+ hci0/dev1")
	app.want("DeviceFound " + root + "/m0 hci0/dev1")
	lost := heard(dev1, plain("One"))
	lost.Discovered, lost.Payloads, lost.Events = false, nil, []ble.MonitorEvent{{Monitor: 1, Lost: true}}
	h.air[0].Report(t, lost)
	app.want("DeviceLost " + root + "/m0 hci0/dev1")
	check(t, "Discovering", c.get("hci0", "Adapter1", "Discovering"), "false")

	app.emit(root+"/m1", valid())
	app.want("Activate " + root + "/m1")
	app.emit(root+"/m1", valid())
	app.emit("/golden/ap", valid())
	app.want() // known; elsewhere
	app.emit(root+"/m2", valid(uint16Prop("RSSILowTimeout", 301)))
	app.want("Release " + root + "/m2")
	check(t, "in the air", len(h.air[0].Monitors()), 2)
	app.emit(root+"/m1", nil)
	app.want()
	check(t, "in the air", len(h.air[0].Monitors()), 1)
	check(t, "unregister another", app.manager("UnregisterMonitor", "/golden"), "DoesNotExist: Does Not Exist")
	check(t, "unregister", app.manager("UnregisterMonitor", root), "")
	app.want("Release " + root + "/m0")
	check(t, "unregister again", app.manager("UnregisterMonitor", root), "DoesNotExist: Does Not Exist")
	check(t, "in the air", len(h.air[0].Monitors()), 0)
	app.emit(root+"/m1", valid())
	app.want()

	app.has(map[string]monitorProps{root + "/m0": valid(), root + "/m1": valid()})
	check(t, "register", app.manager("RegisterMonitor", root), "")
	check(t, "in the air", len(h.air[0].Monitors()), 2)
	h.gone(app.conn.UniqueName(), app.leave)
	check(t, "in the air", len(h.air[0].Monitors()), 0)
}

func TestMonitorAppWithoutObjects(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	app := h.monitorApp()
	check(t, "no such object", app.manager("RegisterMonitor", "/golden/none"), "")
	app.list = func(c *dbusobj.Call) { c.Error("org.example.Error.No", "no") }
	check(t, "error", app.manager("RegisterMonitor", root), "")
	app.want()

	other := h.monitorApp() // it unregisters before it has answered
	held := make(chan *dbusobj.Call, 1)
	other.list = func(c *dbusobj.Call) { held <- c }
	ch := make(chan error, 1)
	other.conn.Post(func() {
		other.conn.Call("org.bluez", "/org/bluez/hci0", "org.bluez.AdvertisementMonitorManager1", "RegisterMonitor", "o",
			func(e *dbusobj.Encoder) { e.ObjectPath(root) }, patience, func(_ []any, err error) { ch <- err })
	})
	call := <-held
	check(t, "unregister", other.manager("UnregisterMonitor", root), "")
	check(t, "register", errorLine(<-ch), "Failed: Adv Monitor app destroyed")
	other.conn.Post(func() { listed(call, map[string]monitorProps{root + "/m0": valid()}) })
	other.want()
	check(t, "in the air", len(h.air[0].Monitors()), 0)
}

func TestMonitorsAreBounded(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	app := h.monitorApp()
	many := map[string]monitorProps{}
	for i := range bluezshim.MaxMonitors + 10 {
		many[fmt.Sprint(root, "/x", i)] = valid()
	}
	app.has(many)
	check(t, "register", app.manager("RegisterMonitor", root), "")
	check(t, "in the air", len(h.air[0].Monitors()), bluezshim.MaxMonitors)
	h.do(h.shim.FillMonitorApps)
	check(t, "register", app.manager("RegisterMonitor", "/"), "Failed: Failed to create Adv Monitor app")
}

// TestMonitorValidation: what is not valid is released and forgotten.
func TestMonitorValidation(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	app := h.monitorApp()
	check(t, "register", app.manager("RegisterMonitor", root), "")
	pattern := func(start, typ byte, content ...byte) monitorProps {
		return monitorProps{typeProp("or_patterns"), patternsProp(ble.MonitorPattern{Start: start, Type: typ, Content: content})}
	}
	long := make([]byte, 31)
	many := make([]ble.MonitorPattern, 65)
	for i := range many {
		many[i] = flagsPattern
	}
	for _, tt := range []struct {
		name  string
		props monitorProps
		ok    bool
	}{
		{"nothing", monitorProps{}, false},
		{"no type", valid()[1:], false},
		{"another type", monitorProps{typeProp("and_patterns"), valid()[1]}, false},
		{"no patterns", valid()[:1], false},
		{"empty patterns", monitorProps{typeProp("or_patterns"), patternsProp()}, false},
		{"too many patterns", monitorProps{typeProp("or_patterns"), patternsProp(many...)}, false},
		{"patterns of another type", monitorProps{typeProp("or_patterns"), int16Prop("Patterns", 1)}, false},
		{"type of another type", monitorProps{int16Prop("Type", 1), valid()[1]}, false},
		{"empty pattern", pattern(0, 1), false},
		{"31 octets", pattern(0, 0xff, long...), true},
		{"31 octets from 1", pattern(1, 0xff, long...), false},
		{"start 30", pattern(30, 0xff, 1), true},
		{"start 31", pattern(31, 0xff, 1), false},
		{"AD type 0", pattern(0, 0, 1), false},
		{"AD type 0x3d", pattern(0, 0x3d, 1), true},
		{"AD type 0x3e", pattern(0, 0x3e, 1), false},
		{"RSSI -128", valid(int16Prop("RSSILowThreshold", -128)), false},
		{"RSSI 21", valid(int16Prop("RSSIHighThreshold", 21)), false},
		{"RSSI unset", valid(int16Prop("RSSIHighThreshold", 127)), true},
		{"RSSI of another type", valid(uint16Prop("RSSIHighThreshold", 1)), false},
		{"high below low", valid(int16Prop("RSSIHighThreshold", -70), int16Prop("RSSILowThreshold", -60)), false},
		{"timeout 300", valid(uint16Prop("RSSIHighTimeout", 300)), true},
		{"timeout 301", valid(uint16Prop("RSSIHighTimeout", 301)), false},
		{"sampling 255", valid(uint16Prop("RSSISamplingPeriod", 255)), true},
		{"sampling 257", valid(uint16Prop("RSSISamplingPeriod", 257)), false},
	} {
		app.emit(root+"/m0", tt.props)
		want := "Release " + root + "/m0"
		if tt.ok {
			want = "Activate " + root + "/m0"
		}
		t.Log(tt.name)
		app.want(want)
		check(t, tt.name, len(h.air[0].Monitors()) == 1, tt.ok)
		if tt.ok {
			app.emit(root+"/m0", nil)
			app.want()
		}
	}
}

// TestMonitorsOverAPowerCycle: what was found is lost, and matching begins anew.
func TestMonitorsOverAPowerCycle(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	app := h.monitorApp()
	app.has(map[string]monitorProps{root + "/m0": valid(int16Prop("RSSIHighThreshold", -60))})
	check(t, "register", app.manager("RegisterMonitor", root), "")
	h.connectedByMonitor(c)
	app.want("Activate "+root+"/m0", "DeviceFound "+root+"/m0 hci0/dev1")
	c.set("hci0", "Adapter1", "Powered", false)
	c.lines()
	app.want("DeviceLost " + root + "/m0 hci0/dev1")
	check(t, "in the air", len(h.air[0].Monitors()), 0)
	c.set("hci0", "Adapter1", "Powered", true)
	c.lines()
	check(t, "in the air", len(h.air[0].Monitors()), 1)
	h.do(h.shim.Close)
	app.want("Release " + root + "/m0")
}

// connectedByMonitor has a monitor find dev1, which is then connected and so not removed with the power.
func (h *harness) connectedByMonitor(c *client) {
	r := heard(dev1, plain("One"))
	r.Discovered, r.Monitored, r.Events = false, true, []ble.MonitorEvent{{Monitor: 1}}
	h.air[0].Report(h.t, r)
	h.connect(c, database())
}
