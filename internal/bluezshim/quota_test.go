package bluezshim_test

import (
	"fmt"
	"slices"
	"testing"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
	"bluez-esphome/internal/dbusobj"

	"github.com/godbus/dbus/v5"
)

const limitsExceeded = "DBus.Error.LimitsExceeded: "

// TestMonitorQuotas: one name can have so many applications and patterns; another is served.
func TestMonitorQuotas(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	app, other := h.monitorApp(), h.monitorApp()
	for i := range bluezshim.MaxClientApps {
		check(t, "register", app.manager("RegisterMonitor", fmt.Sprint("/none", i)), "")
	}
	check(t, "one too many", app.manager("RegisterMonitor", root), "Failed: Failed to create Adv Monitor app")
	check(t, "unregister", app.manager("UnregisterMonitor", "/none0"), "")
	patterns := slices.Repeat([]ble.MonitorPattern{flagsPattern}, 50)
	many := map[string]monitorProps{}
	for i := range 20 {
		many[fmt.Sprint(root, "/x", i)] = monitorProps{typeProp("or_patterns"), patternsProp(patterns...)}
	}
	app.has(many)
	check(t, "register", app.manager("RegisterMonitor", root), "")
	check(t, "in the air", len(h.air[0].Monitors()), bluezshim.MaxClientPatterns/50)
	other.has(map[string]monitorProps{root + "/m0": valid()})
	check(t, "register another's", other.manager("RegisterMonitor", root), "")
	check(t, "in the air", len(h.air[0].Monitors()), bluezshim.MaxClientPatterns/50+1)
}

// TestMonitorsThatNeverAnswer: one name can have so many registrations that wait for its own answer; another is served.
func TestMonitorsThatNeverAnswer(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	mute, other := h.monitorApp(), h.monitorApp()
	path := func(i int) dbus.ObjectPath { return dbus.ObjectPath(fmt.Sprint("/mute", i)) }
	if err := mute.conn.Do(t.Context(), func() {
		mute.list = func(*dbusobj.Call) {}
		for i := range bluezshim.MaxClientAsked {
			mute.conn.Add(path(i), nil, mute.om)
			mute.conn.Call("org.bluez", "/org/bluez/hci0", "org.bluez.AdvertisementMonitorManager1", "RegisterMonitor", "o",
				func(e *dbusobj.Encoder) { e.ObjectPath(path(i)) }, 0, func([]any, error) {})
		}
	}); err != nil {
		t.Fatal(err)
	}
	check(t, "one too many", mute.manager("RegisterMonitor", "/more"), "Failed: Failed to create Adv Monitor app")
	check(t, "another's", other.manager("RegisterMonitor", root), "")
}

// commands is a service of n characteristics that take commands.
func commands(n int) ble.Service {
	s := ble.Service{Handle: 0x100, EndHandle: 0xfff, UUID: uuidCustom}
	for i := range n {
		h := uint16(0x101 + 2*i)
		s.Characteristics = append(s.Characteristics, ble.Characteristic{Handle: h, ValueHandle: h + 1, UUID: custom(1), Properties: ble.PropWriteWithoutResponse})
	}
	return s
}

// TestPipeQuota: one name can acquire so many characteristics; another is served, and what is closed counts no more.
func TestPipeQuota(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c, other := h.client(), h.client()
	h.connected(c, database(commands(bluezshim.MaxClientPipes+2)))
	path := func(i int) string { return fmt.Sprintf("hci0/dev1/service0100/char%04x", 0x101+2*i) }
	acquire := func(c *client, i int) (int, string) {
		body, e := c.call(path(i), char1+"AcquireWrite", options{})
		if e != "" {
			return -1, e
		}
		return int(body[0].(dbus.UnixFD)), ""
	}
	var fds []int
	for i := range bluezshim.MaxClientPipes {
		fd, e := acquire(c, i)
		check(t, path(i), e, "")
		fds = append(fds, fd)
	}
	_, e := acquire(c, bluezshim.MaxClientPipes)
	check(t, "one too many", e, limitsExceeded+"Too many characteristics are acquired")
	fd, e := acquire(other, bluezshim.MaxClientPipes)
	check(t, "another client", e, "")
	closeAll([]int{fd, fds[0]})
	for {
		if _, n := h.shim.Piped(); n == bluezshim.MaxClientPipes-1 {
			break
		}
		h.do(func() {})
	}
	fd, e = acquire(c, bluezshim.MaxClientPipes+1)
	check(t, "again", e, "")
	closeAll(append(fds[1:], fd))
	h.shim.LinkDown(dev1, ble.DisconnectRemote)
	c.lines()
	bytes, n := h.shim.Piped()
	check(t, "pipes that are left", n, 0)
	check(t, "bytes that are left", bytes, 0)
}

// TestFilterQuota: all filters together have a bound; sessions without UUIDs go on.
func TestFilterQuota(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	uuids := make([]string, 256)
	for i := range uuids {
		uuids[i] = ble.UUID16(uint16(i)).String()
	}
	set := func(c *client, n int) string {
		_, e := c.call("hci0", "Adapter1.SetDiscoveryFilter", options{"UUIDs": dbus.MakeVariant(uuids[:n])})
		return e
	}
	first := h.client()
	check(t, "filter", set(first, 256), "")
	for range 31 {
		check(t, "filter", set(h.client(), 256), "")
	}
	late := h.client()
	check(t, "one too many", set(late, 1), limitsExceeded+"Too many UUIDs in filters")
	check(t, "no UUIDs", set(late, 0), "")
	check(t, "in place of one's own", set(first, 255), "")
	check(t, "room again", set(late, 1), "")
}
