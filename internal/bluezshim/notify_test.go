package bluezshim_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
	"bluez-esphome/internal/links/linkstest"

	"github.com/godbus/dbus/v5"
)

const noSession = "Failed: No notify session started"

func TestNotify(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	a, b := h.client(), h.client()
	h.connected(a, database(customService()))
	b.lines()
	a.send(charNtf, char1+"StopNotify")
	a.send(charNone, char1+"StartNotify")
	a.want("StopNotify: "+noSession, "StartNotify: "+notSupported)
	a.send(charNtf, char1+"StartNotify")
	op := h.links.Next(t, "Subscribe 0016")
	a.sendAs("again", charNtf, char1+"StartNotify")
	a.sendAs("stop", charNtf, char1+"StopNotify")
	b.sendAs("of b", charNtf, char1+"StartNotify")
	a.want("again: "+inProgress, "stop: "+noSession)
	op.End(nil)
	b.want(charNtf+" GattCharacteristic1 Notifying=true", "of b: ok") // one subscription
	a.want(charNtf+" GattCharacteristic1 Notifying=true", "StartNotify: ok")
	a.send(charNtf, char1+"StartNotify")
	a.send(charNtf, char1+"AcquireNotify", options{})
	a.want("StartNotify: ok", "AcquireNotify: "+inProgress)
	const value = charNtf + " GattCharacteristic1 Value="
	h.shim.Notified(dev1, 0x16, []byte{1})
	h.shim.Notified(dev1, 0x16, []byte{1}) // an equal value is a value
	h.shim.Notified(dev1, 0x16, []byte{2})
	h.shim.Notified(dev1, 0x19, []byte{3}) // nobody asked
	h.shim.Notified(dev1, 0x99, []byte{3})
	h.shim.Notified(dev2, 0x16, []byte{3})
	a.want(value+"01", value+"01", value+"01", value+"01", value+"02", value+"02") // for each session
	a.send(charNtf, char1+"StopNotify")
	a.send(charNtf, char1+"StopNotify")
	a.want("StopNotify: ok", "StopNotify: "+noSession)
	h.shim.Notified(dev1, 0x16, []byte{4})
	a.want(value + "04")
	h.links.None(t)
	h.leave(b)
	h.links.Next(t, "Unsubscribe 0016")
	a.want(charNtf + " GattCharacteristic1 Notifying=false")
	h.shim.Notified(dev1, 0x16, []byte{5}) // still under way
	a.want()
	a.send(charNtf, char1+"StartNotify")
	h.links.Next(t, "Subscribe 0016").End(nil)
	a.want(charNtf+" GattCharacteristic1 Notifying=true", "StartNotify: ok")
	a.send(charNtf, char1+"StopNotify")
	h.links.Next(t, "Unsubscribe 0016")
	a.want("StopNotify: ok", charNtf+" GattCharacteristic1 Notifying=false")
}

func TestNotifyFails(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	a, b := h.client(), h.client()
	h.connected(a, database(customService()))
	b.lines()
	a.send(charNtf, char1+"StartNotify")
	b.send(charNtf, char1+"StartNotify")
	op := h.links.Next(t, "Subscribe 0016")
	b.want()
	op.End(ble.ATTWriteNotPermitted)
	a.want("StartNotify: NotPermitted: Write not permitted")
	b.want("StartNotify: NotPermitted: Write not permitted")
	h.links.Next(t, "Unsubscribe 0016")
	a.send(charNtf, char1+"StopNotify")
	a.want("StopNotify: " + noSession)
	a.send(charNtf, char1+"StartNotify")
	op = h.links.Next(t, "Subscribe 0016")
	h.shim.LinkDown(dev1, ble.DisconnectRemote)
	op.End(ble.ErrNotConnected)
	a.want(append(downLines("Remote", "Connection terminated by remote user"), "StartNotify: Failed: Operation failed with ATT error: 0x0e")...)
	h.links.Next(t, "Unsubscribe 0016") // or it would be armed with the next link
}

// TestNotifyClientLeavesMeanwhile: its call is ended with what came along with it.
func TestNotifyClientLeavesMeanwhile(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	watch, c := h.client(), h.client()
	h.connected(c, database(customService()))
	before := h.shim.Clients()
	c.send(charNtf, char1+"StartNotify")
	op := h.links.Next(t, "Subscribe 0016")
	h.leave(c)
	watch.lines()
	op.End(nil)
	h.links.Next(t, "Unsubscribe 0016")
	watch.want()
	check(t, "watched clients", h.shim.Clients(), before-1)
}

// TestNotifySurvivesTheLink is recorded of bluetoothd 5.87: sessions stay, and so does Notifying.
func TestNotifySurvivesTheLink(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	a, b := h.client(), h.client()
	h.connected(a, database(customService()))
	a.send(charNtf, char1+"StartNotify")
	h.links.Next(t, "Subscribe 0016").End(nil)
	a.lines()
	h.shim.LinkDown(dev1, ble.DisconnectRemote)
	a.lines()
	check(t, "Notifying", a.get(charNtf, "GattCharacteristic1", "Notifying"), "true")
	b.lines()
	b.send(charInd, char1+"StartNotify") // begins with the next link
	h.links.Next(t, "Subscribe 0019").End(nil)
	b.want("StartNotify: ok")
	h.connect(a, database(customService()))
	b.want("hci0/dev1 Device1 Connected=true", "hci0/dev1 Device1 ServicesResolved=true", charInd+" GattCharacteristic1 Notifying=true")
	h.shim.Notified(dev1, 0x16, []byte{1})
	h.shim.Notified(dev1, 0x19, []byte{2})
	b.want(charNtf+" GattCharacteristic1 Value=01", charInd+" GattCharacteristic1 Value=02")
	h.shim.LinkDown(dev1, ble.DisconnectRemote)
	a.lines()
	a.send(charNtf, char1+"StopNotify")
	h.links.Next(t, "Unsubscribe 0016")
	a.want("StopNotify: ok", charNtf+" GattCharacteristic1 Notifying=false")
	h.clock.Advance(time.Minute) // the objects go, and with them what is left
	h.links.Next(t, "Unsubscribe 0019")
}

func TestNotifySessionsAreBounded(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	h.links.Auto("Subscribe", func(op *linkstest.Op) { op.End(nil) })
	for range bluezshim.MaxNotifySessions {
		conn, err := dbus.Connect(h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.Object("org.bluez", fullPath(charNtf)).Call("org.bluez."+char1+"StartNotify", 0).Err; err != nil {
			t.Fatal(err)
		}
	}
	_, e := c.call(charNtf, char1+"StartNotify")
	check(t, "one too many", e, "Failed: Failed to register notify session")
	c.lines()
	h.shim.Notified(dev1, 0x16, []byte{7})
	check(t, "a value", c.lines(), slices.Repeat([]string{charNtf + " GattCharacteristic1 Value=07"}, bluezshim.MaxRepeats))
}

// TestFloodIsBounded: while the loop is busy, a peripheral can make so many notifications wait and no more; the rest of
// what happens on the link is not lost, and neither is another peripheral's.
func TestFloodIsBounded(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	h.air[0].Report(t, heard(dev1, plain("One")), heard(dev2, plain("Two")))
	c.lines()
	c.send("hci0", "Adapter1.StopDiscovery")
	h.links.Auto("Subscribe", func(op *linkstest.Op) { op.End(nil) })
	h.links.Auto("Connect", func(op *linkstest.Op) {
		h.shim.LinkUp(op.Addr, 23)
		op.End(nil)
		h.shim.Resolved(op.Addr, database(customService()), 23)
	})
	for _, d := range []string{"hci0/dev1", "hci0/dev2"} {
		c.send(d, "Device1.Connect")
		c.lines()
		c.send(d+strings.TrimPrefix(charNtf, "hci0/dev1"), char1+"StartNotify")
		c.lines()
	}
	h.do(func() {
		for i := range bluezshim.MaxNotes + 500 {
			h.shim.Notified(dev1, 0x16, []byte{byte(i), byte(i >> 8)})
		}
		h.shim.Notified(dev2, 0x16, []byte{0xff})
		h.shim.LinkDown(dev1, ble.DisconnectRemote)
	})
	for range bluezshim.MaxNotes / 64 { // each turn of the loop takes some
		h.do(func() {})
	}
	lines := c.lines()
	check(t, "lines", len(lines), bluezshim.MaxNotes+1+4)
	for i, l := range lines[:bluezshim.MaxNotes] {
		if want := fmt.Sprintf("%s GattCharacteristic1 Value=%02x%02x", charNtf, byte(i), byte(i>>8)); l != want {
			t.Fatalf("line %d is %q, want %q", i, l, want)
		}
	}
	check(t, "the other one's", lines[bluezshim.MaxNotes], strings.Replace(charNtf, "dev1", "dev2", 1)+" GattCharacteristic1 Value=ff")
	if n := strings.Count(h.log.String(), "Notifications come faster"); n != 1 || !strings.Contains(h.log.String(), "dropped=500") {
		t.Errorf("the log says it %d times:\n%s", n, h.log)
	}
}

func TestBattery(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(batteryService()))
	h.links.Next(t, "Read 0032").Answer(87)
	sub := h.links.Next(t, "Subscribe 0032")
	c.want("+ hci0/dev1 Battery1")
	sub.End(nil)
	check(t, "Battery1", c.props("hci0/dev1", "Battery1"), map[string]string{"Percentage": "87", "Source": "GATT Battery Service"})
	check(t, "Value", c.get(battery, "GattCharacteristic1", "Value"), "")
	for _, v := range [][]byte{{86}, {86}, {}, {101}, nil} {
		h.shim.Notified(dev1, 0x32, v)
	}
	c.want("hci0/dev1 Battery1 Percentage=86")
	check(t, "Notifying", c.get(battery, "GattCharacteristic1", "Notifying"), "false")
	c.send(battery, char1+"StartNotify") // beside the shim's own
	c.want(battery+" GattCharacteristic1 Notifying=true", "StartNotify: ok")
	h.shim.Notified(dev1, 0x32, []byte{85})
	c.want("hci0/dev1 Battery1 Percentage=85", battery+" GattCharacteristic1 Value=55")
	c.send(battery, char1+"StopNotify")
	c.want("StopNotify: ok", battery+" GattCharacteristic1 Notifying=false")
	h.links.None(t) // the level is still followed
	c.send("hci0/dev1", "Device1.Disconnect")
	h.links.Next(t, "Disconnect")
	c.want("- hci0/dev1 Battery1")
	h.shim.LinkDown(dev1, ble.DisconnectLocal)
	c.want(append(downLines("Local", "Connection terminated by local host"), "Disconnect: ok")...)
	h.links.Next(t, "Unsubscribe 0032")
	h.connect(c, database(batteryService()))
	h.links.Next(t, "Read 0032").Answer(84)
	h.links.Next(t, "Subscribe 0032").End(nil)
	c.want("+ hci0/dev1 Battery1")
	h.shim.LinkDown(dev1, ble.DisconnectRemote)
	c.want(append(downLines("Remote", "Connection terminated by remote user"), "- hci0/dev1 Battery1")...)
}

func TestBatteryThatCannotBeFollowed(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	s := batteryService()
	s.Characteristics[0].Properties = ble.PropRead
	h.connected(c, database(s))
	h.links.None(t)
	_, e := c.call("hci0/dev1", "Properties.GetAll", "org.bluez.Battery1")
	check(t, "Battery1", e, "DBus.Error.InvalidArgs: No such interface 'org.bluez.Battery1'")
}

// TestSetup: name, appearance and PnP ID are read where they are not known.
func TestSetup(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	h.air[0].Report(t, heard(dev1, ble.Advertisement{Flags: 6, HasFlags: true}))
	c.lines()
	h.connect(c, database(gapService(), infoService()))
	h.links.Next(t, "Read 0042").Answer(1, 0xe5, 2, 0x34, 0x12, 0, 1)
	got := c.lines()
	if want := "hci0/dev1 Device1 Modalias=bluetooth:v02E5p1234d0100 ServicesResolved=true "; !strings.HasPrefix(got[len(got)-1], want) {
		t.Errorf("%q, want %q…", got, want)
	}
	name, appearance := h.links.Next(t, "Read 0003"), h.links.Next(t, "Read 0005")
	name.Answer([]byte("From GAP")...)
	appearance.Answer(0xc1, 3)
	c.want("hci0/dev1 Device1 Alias=From GAP Name=From GAP", "hci0/dev1 Device1 Appearance=961 Icon=input-keyboard")
	h.shim.LinkDown(dev1, ble.DisconnectRemote)
	h.connect(c, database(gapService(), infoService()))
	h.links.None(t)
}

// TestSlowPnPID does not hold up ServicesResolved for more than a second.
func TestSlowPnPID(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(infoService()))
	op := h.links.Next(t, "Read 0042")
	check(t, "ServicesResolved", c.get("hci0/dev1", "Device1", "ServicesResolved"), "false")
	h.clock.Advance(time.Second)
	c.want("hci0/dev1 Device1 ServicesResolved=true UUIDs=[0000180a-0000-1000-8000-00805f9b34fb]")
	op.Answer(2, 1, 0, 2, 0, 3, 0)
	c.want("hci0/dev1 Device1 Modalias=usb:v0001p0002d0003")
	// A link that ended meanwhile is not resolved, and neither is the next one by the old answer.
	h2 := start(t, 1)
	c2 := h2.client()
	h2.connected(c2, database(infoService()))
	op = h2.links.Next(t, "Read 0042")
	h2.shim.LinkDown(dev1, ble.DisconnectRemote)
	c2.lines()
	c2.send("hci0/dev1", "Device1.Connect")
	up := h2.links.Next(t, "Connect")
	h2.shim.LinkUp(dev1, 23)
	up.End(nil)
	op.End(ble.ErrNotConnected)
	h2.clock.Advance(time.Second)
	c2.want("hci0/dev1 Device1 Connected=true", "Connect: ok")
}
