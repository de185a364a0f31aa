package bluezshim_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"bluez-esphome/internal/ble"

	"github.com/google/go-cmp/cmp"
)

// resolvedLines are what the resolution of a database with the custom service says.
func resolvedLines() []string {
	return []string{
		"+ " + svc, "+ " + charRW, "+ " + charCmd, "+ " + charNtf, "+ " + descNtf, "+ " + charInd, "+ " + charInd + "/desc001a",
		"+ " + charAll, "+ " + charAll + "/desc001d", "+ " + descUser, "+ " + charRel, "+ " + charRel + "/desc0021", "+ " + charNone,
		"hci0/dev1 Device1 ServicesResolved=true UUIDs=[" + uuidCustom.String() + "]",
	}
}

// downLines are what the end of a link of resolved services says.
func downLines(reason, text string) []string {
	d := "Disconnected org.bluez.Reason." + reason + " " + text
	return []string{
		"hci0/dev1 Device1 ServicesResolved=false", "hci0/dev1 Bearer.LE1." + d, "hci0/dev1 Device1." + d, "hci0/dev1 Device1 Connected=false",
	}
}

// TestConnectOrder is recorded of bluetoothd 5.87: connect_order, connect_full, peer_disconnects, reconnect.
func TestConnectOrder(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.found(c)
	c.send("hci0/dev1", "Device1.Connect")
	op := h.links.Next(t, "Connect")
	c.sendAs("second", "hci0/dev1", "Device1.Connect")
	c.sendAs("pair", "hci0/dev1", "Device1.Pair")
	c.want("second: InProgress: In Progress", "pair: InProgress: In Progress")
	h.shim.LinkUp(dev1, 23)
	op.End(nil)
	c.want("hci0/dev1 Device1 Connected=true", "Connect: ok")
	c.send("hci0/dev1", "Device1.Connect")
	c.want("Connect: ok") // connected, though not resolved
	h.shim.Resolved(dev1, database(customService()), 247)
	c.want(resolvedLines()...)
	check(t, "MTU", c.get(charRW, "GattCharacteristic1", "MTU"), "247")
	for _, reason := range []struct {
		of         ble.DisconnectReason
		name, text string
	}{
		{ble.DisconnectRemote, "Remote", "Connection terminated by remote user"},
		{ble.DisconnectTimeout, "Timeout", "Connection timeout"},
		{ble.DisconnectUnknown, "Unknown", "Unspecified"},
		{ble.DisconnectLocal, "Local", "Connection terminated by local host"},
		{ble.DisconnectAuthentication, "Authentication", "Connection terminated due to authentication failure"},
		{ble.DisconnectSuspend, "Suspend", "Connection terminated by local host for suspend"},
	} {
		h.shim.LinkDown(dev1, reason.of)
		c.want(downLines(reason.name, reason.text)...)
		h.shim.LinkDown(dev1, reason.of)
		c.want() // once is enough
		check(t, "MTU", c.get(charRW, "GattCharacteristic1", "MTU"), "DBus.Error.InvalidArgs: No such property 'MTU'")
		c.send("hci0/dev1", "Device1.Connect")
		op = h.links.Next(t, "Connect")
		h.shim.LinkUp(dev1, 247)
		op.End(nil)
		c.want("hci0/dev1 Device1 Connected=true", "Connect: ok")
		h.shim.Resolved(dev1, database(customService()), 247)
		c.want("hci0/dev1 Device1 ServicesResolved=true") // the objects stayed
	}
}

// TestAdvertsDoNotChangeResolvedUUIDs: from the first resolution on the list is the database's.
func TestAdvertsDoNotChangeResolvedUUIDs(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	h.air[0].Report(t, heard(dev1, rich()))
	h.connect(c, database(customService()))
	want := "[0000180f-0000-1000-8000-00805f9b34fb 0000fcd2-0000-1000-8000-00805f9b34fb " + uuidCustom.String() + "]"
	check(t, "UUIDs", c.get("hci0/dev1", "Device1", "UUIDs"), want)
	h.air[0].Report(t, heard(dev1, ble.Advertisement{ServiceUUIDs: []ble.UUID{ble.UUID16(0x1234)}, Flags: 6, HasFlags: true}))
	h.shim.LinkDown(dev1, ble.DisconnectRemote)
	c.lines()
	check(t, "UUIDs", c.get("hci0/dev1", "Device1", "UUIDs"), want)
}

func TestConnectErrors(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.found(c)
	failure := func(f ble.ConnectFailure, detail string) error {
		return fmt.Errorf("wrapped: %w", &ble.ConnectError{Failure: f, Detail: detail})
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{failure(ble.ConnectTimeout, ""), "le-connection-timeout"},
		{ble.ErrTimeout, "le-connection-timeout"},
		{failure(ble.ConnectNoSlot, ""), "le-connection-concurrent-connection-limit (no free connection slot)"},
		{failure(ble.ConnectRefused, ""), "le-connection-refused"},
		{failure(ble.ConnectBlocked, "why"), "le-connection-refused (why)"},
		{failure(ble.ConnectUnknown, ""), "le-connection-unknown"},
		{errors.New("anything"), "le-connection-unknown"},
	} {
		c.send("hci0/dev1", "Device1.Connect")
		h.links.Next(t, "Connect").End(tt.err)
		c.want("Connect: Failed: " + tt.want)
	}
	c.send("hci0/dev1", "Device1.Connect")
	op := h.links.Next(t, "Connect")
	h.shim.LinkUp(dev1, 23)
	h.shim.LinkDown(dev1, ble.DisconnectTimeout)
	op.End(failure(ble.ConnectLost, ""))
	c.want("hci0/dev1 Device1 Connected=true", "hci0/dev1 Bearer.LE1.Disconnected org.bluez.Reason.Timeout Connection timeout",
		"hci0/dev1 Device1.Disconnected org.bluez.Reason.Timeout Connection timeout",
		"hci0/dev1 Device1 Connected=false", "Connect: Failed: le-connection-abort-by-local")
	h.clock.Advance(30 * time.Second) // counted from the last attempt
	c.want("- hci0/dev1")
}

func TestConnectUnpowered(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	c.set("hci0", "Adapter1", "Powered", false)
	h.links.Next(t, "Disconnect")
	h.shim.LinkDown(dev1, ble.DisconnectLocal)
	c.want(append([]string{"hci0 Adapter1 PowerState=on-disabling", "Set: ok", "hci0 Adapter1 Discovering=false PowerState=off Powered=false"},
		downLines("Unknown", "Unspecified")...)...)
	for _, tt := range []struct{ method, want string }{
		{"Connect", "Failed: Input/output error"}, {"Disconnect", ""}, {"Pair", "AuthenticationFailed: Authentication Failed"},
		{"CancelPairing", "DoesNotExist: Does Not Exist"},
	} {
		_, e := c.call("hci0/dev1", "Device1."+tt.method)
		check(t, tt.method, e, tt.want)
	}
	_, e := c.call("hci0/dev1", "Device1.ConnectProfile", "180f")
	check(t, "ConnectProfile", e, "NotReady: br-connection-adapter-not-powered")
	_, e = c.call("hci0", "Adapter1.RemoveDevice", fullPath("hci0/dev1"))
	check(t, "RemoveDevice", e, notReady)
	_, e = c.call("hci0", "Adapter1.RemoveDevice", fullPath("hci0/dev2"))
	check(t, "RemoveDevice of an unknown one", e, "DoesNotExist: Does Not Exist")
}

func TestPowerOffWhileConnecting(t *testing.T) {
	t.Parallel()
	h := start(t, 2)
	c := h.client()
	h.found(c)
	h.shim.SetOnline(1, false) // another adapter's attempts are not its business
	c.send("hci0/dev1", "Device1.Connect")
	op := h.links.Next(t, "Connect")
	c.lines()
	c.set("hci0", "Adapter1", "Powered", false)
	h.links.Next(t, "CancelConnect")
	op.End(ble.ErrCanceled)
	c.want("hci0 Adapter1 PowerState=on-disabling", "Set: ok", "hci0 Adapter1 Discovering=false PowerState=off Powered=false",
		"Connect: Failed: br-connection-canceled", "- hci0/dev1")
}

func TestDisconnect(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	a, b := h.client(), h.client()
	h.found(a)
	a.send("hci0/dev1", "Device1.Disconnect")
	a.want("Disconnect: ok") // nothing to do
	h.connect(a, database(customService()))
	b.lines()
	a.send("hci0/dev1", "Device1.Disconnect")
	h.links.Next(t, "Disconnect")
	b.send("hci0/dev1", "Device1.Disconnect") // any client may
	b.send("hci0/dev1", "Device1.Connect")
	b.send(charNtf, "GattCharacteristic1.StartNotify")
	b.want("Connect: Failed: Operation already in progress", "StartNotify: NotConnected: Not Connected")
	h.shim.LinkDown(dev1, ble.DisconnectRemote) // whatever the other side says, we did it
	down := downLines("Local", "Connection terminated by local host")
	b.want(append(down, "Disconnect: ok")...)
	a.want(append(down, "Disconnect: ok")...)
	h.links.None(t)
}

// TestDisconnectWhileConnecting is recorded of bluetoothd 5.87, connect_then_disconnect_at_once.
func TestDisconnectWhileConnecting(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.found(c)
	c.send("hci0/dev1", "Device1.Connect")
	op := h.links.Next(t, "Connect")
	c.send("hci0/dev1", "Device1.Disconnect")
	h.links.Next(t, "CancelConnect")
	op.End(ble.ErrCanceled)
	c.want("Connect: Failed: br-connection-canceled", "Disconnect: ok", "- hci0/dev1")
}

// TestCalledOffDeviceThatIsHeard: an object of a device that is still there stays.
func TestCalledOffDeviceThatIsHeard(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		discovering bool
		heard       time.Duration // after the beginning of the attempt, which is called off after 2 s
		stays       bool
	}{
		{"heard meanwhile", false, 1500 * time.Millisecond, true},
		{"heard meanwhile, seldom", false, 700 * time.Millisecond, true},
		{"heard before", false, -time.Second, false},
		{"heard before and handed over meanwhile", false, 300 * time.Millisecond, false},
		{"heard meanwhile, a client discovers", true, time.Second, true},
		{"heard before, a client discovers", true, -time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := start(t, 1)
			c := h.client()
			h.found(c)
			if tt.discovering {
				c.send("hci0", "Adapter1.StartDiscovery")
				h.air[0].Report(t, heard(dev1, plain("One")))
				c.lines()
			}
			h.air[0].SetSources(dev1, ble.Source{Proxy: "kitchen", LastHeard: h.clock.Now().Add(tt.heard)})
			c.send("hci0/dev1", "Device1.Connect")
			op := h.links.Next(t, "Connect")
			h.clock.Advance(2 * time.Second)
			c.send("hci0/dev1", "Device1.Disconnect")
			h.links.Next(t, "CancelConnect")
			op.End(ble.ErrCanceled)
			want := []string{"Connect: Failed: br-connection-canceled", "Disconnect: ok"}
			if !tt.stays {
				want = append(want, "- hci0/dev1")
			}
			c.want(want...)
			check(t, "forgotten, so that it is reported again", len(h.air[0].Forgotten()), map[bool]int{true: 1}[tt.discovering && !tt.stays])
		})
	}
}

// TestDisconnectThatComesLate: the link came up before the attempt could be called off.
func TestDisconnectThatComesLate(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.found(c)
	c.send("hci0/dev1", "Device1.Connect")
	op := h.links.Next(t, "Connect")
	c.send("hci0/dev1", "Device1.Disconnect")
	h.links.Next(t, "CancelConnect")
	h.shim.LinkUp(dev1, 23)
	op.End(nil)
	h.links.Next(t, "Disconnect")
	h.shim.LinkDown(dev1, ble.DisconnectLocal)
	c.want("hci0/dev1 Device1 Connected=true", "Connect: ok",
		"hci0/dev1 Bearer.LE1.Disconnected org.bluez.Reason.Local Connection terminated by local host",
		"hci0/dev1 Device1.Disconnected org.bluez.Reason.Local Connection terminated by local host",
		"hci0/dev1 Device1 Connected=false", "Disconnect: ok")
}

func TestClientsDoNotOwnLinks(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	watch, c := h.client(), h.client()
	h.found(c)
	c.send("hci0/dev1", "Device1.Connect")
	op := h.links.Next(t, "Connect")
	h.leave(c)
	watch.lines()
	h.shim.LinkUp(dev1, 23)
	op.End(nil)
	watch.want("hci0/dev1 Device1 Connected=true")
	h.links.None(t)
}

func TestBlockDropsTheLink(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	c.set("hci0/dev1", "Device1", "Blocked", true)
	h.links.Next(t, "Disconnect")
	h.shim.LinkDown(dev1, ble.DisconnectLocal)
	c.want(append([]string{"hci0/dev1 Device1 Blocked=true", "Set: ok"}, downLines("Local", "Connection terminated by local host")...)...)
}

// TestRemoveConnected is recorded of bluetoothd 5.87, remove_while_connected.
func TestRemoveConnected(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	c.send("hci0", "Adapter1.RemoveDevice", fullPath("hci0/dev1"))
	h.links.Next(t, "Disconnect")
	c.sendAs("again", "hci0", "Adapter1.RemoveDevice", fullPath("hci0/dev1"))
	c.want()
	h.shim.LinkDown(dev1, ble.DisconnectLocal)
	got := c.lines()
	want := append(downLines("Local", "Connection terminated by local host"), "RemoveDevice: ok")
	if diff := cmp.Diff(want, got[:min(5, len(got))]); diff != "" {
		t.Errorf("first lines (-want +got):\n%s", diff)
	}
	check(t, "what follows", got[len(got)-3:], []string{"- " + svc, "- hci0/dev1", "again: ok"})
	h.links.Next(t, "Forget")
	check(t, "peers", h.shim.Peers(), 0)
}

// TestRemoveConnecting: the pending Connect is answered, and what comes of it later does not hit the device that was
// found anew.
func TestRemoveConnecting(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.found(c)
	c.send("hci0/dev1", "Device1.Connect")
	op := h.links.Next(t, "Connect")
	c.send("hci0", "Adapter1.RemoveDevice", fullPath("hci0/dev1"))
	h.links.Next(t, "CancelConnect")
	h.links.Next(t, "Forget")
	c.want("- hci0/dev1", "RemoveDevice: ok")
	h.found(c)
	op.End(ble.ErrCanceled)
	c.want("Connect: Failed: br-connection-canceled")
	check(t, "peers", h.shim.Peers(), 1)
	h.connect(c, database(customService()))
	check(t, "ServicesResolved", c.get("hci0/dev1", "Device1", "ServicesResolved"), "true")
}

// TestLinkOfRemovedDevice: a link that comes up for a device that is gone is ended.
func TestLinkOfRemovedDevice(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.shim.LinkUp(dev1, 23)
	h.shim.Resolved(dev1, database(customService()), 23)
	h.links.Next(t, "Disconnect")
	h.shim.Notified(dev1, 1, nil)
	h.shim.DatabaseChanged(dev1, database())
	h.shim.Paired(dev1, true)
	h.shim.LinkDown(dev1, ble.DisconnectLocal)
	c.want()
	check(t, "peers", h.shim.Peers(), 0)
}

// TestStopDiscoveryWhileConnecting: a device that is not connectable goes, unless somebody connects to it.
func TestStopDiscoveryWhileConnecting(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	r := heard(dev1, plain("One"))
	r.Connectable = false
	h.air[0].Report(t, r)
	c.send("hci0/dev1", "Device1.Connect")
	op := h.links.Next(t, "Connect")
	c.lines()
	c.send("hci0", "Adapter1.StopDiscovery")
	c.want("StopDiscovery: ok", "hci0/dev1 Device1 -RSSI", "hci0 Adapter1 Discovering=false")
	h.clock.Advance(time.Minute)
	c.want()
	h.shim.LinkUp(dev1, 23)
	op.End(nil)
	c.want("hci0/dev1 Device1 Connected=true", "Connect: ok")
	h.clock.Advance(time.Minute)
	c.want()
	h.shim.LinkDown(dev1, ble.DisconnectRemote)
	c.lines()
	h.clock.Advance(30 * time.Second)
	c.want("- hci0/dev1")
}

func TestDatabaseChange(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	other := ble.Service{Handle: 0x50, EndHandle: 0x5f, UUID: custom(9), Characteristics: []ble.Characteristic{
		{Handle: 0x51, ValueHandle: 0x52, UUID: custom(8), Properties: ble.PropNotify},
	}}
	h.connected(c, database(customService(), other))
	const char = "hci0/dev1/service0050/char0051"
	c.send(char, "GattCharacteristic1.StartNotify")
	h.links.Next(t, "Subscribe 0052").End(nil)
	c.lines()
	h.shim.DatabaseChanged(dev1, database(customService(), other))
	c.want()
	moved := other
	moved.Handle = 0x60
	moved.Characteristics = []ble.Characteristic{{Handle: 0x61, ValueHandle: 0x62, UUID: custom(8)}}
	h.shim.DatabaseChanged(dev1, database(customService(), moved))
	h.links.Next(t, "Unsubscribe 0052")
	c.want("- "+char, "- hci0/dev1/service0050", "+ hci0/dev1/service0060", "+ hci0/dev1/service0060/char0061")
	h.shim.DatabaseChanged(dev1, database(customService()))
	c.want("- hci0/dev1/service0060/char0061", "- hci0/dev1/service0060", "hci0/dev1 Device1 UUIDs=["+uuidCustom.String()+"]")
	// What changed while the link was down is known before ServicesResolved.
	h.shim.LinkDown(dev1, ble.DisconnectRemote)
	c.lines()
	h.connect(c, database(other))
	c.want()
	check(t, "UUIDs", c.get("hci0/dev1", "Device1", "UUIDs"), "["+custom(9).String()+"]")
}

// TestDatabaseChangeWhileResolving: it comes while the PnP ID is read.
func TestDatabaseChangeWhileResolving(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(infoService()))
	op := h.links.Next(t, "Read 0042")
	h.shim.DatabaseChanged(dev1, database(infoService(), customService()))
	op.Answer(2, 0xe5, 2, 0x34, 0x12, 0, 1)
	got := c.lines()
	check(t, "the last line", got[len(got)-1], "hci0/dev1 Device1 Modalias=usb:v02E5p1234d0100 ServicesResolved=true UUIDs=[0000180a-0000-1000-8000-00805f9b34fb "+
		uuidCustom.String()+"]")
}
