package bluezshim_test

import (
	"errors"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
)

// TestPairOrder is recorded of bluetoothd 5.87, pair_with_agent.
func TestPairOrder(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.found(c)
	c.send("hci0/dev1", "Device1.Pair")
	op := h.links.Next(t, "Connect")
	c.sendAs("second", "hci0/dev1", "Device1.Pair")
	c.sendAs("connect", "hci0/dev1", "Device1.Connect")
	c.want("second: InProgress: In Progress", "connect: InProgress: In Progress")
	h.shim.LinkUp(dev1, 23)
	op.End(nil)
	c.want("hci0/dev1 Device1 Connected=true")
	pair := h.links.Next(t, "Pair")
	c.sendAs("connect", "hci0/dev1", "Device1.Connect")
	c.want("connect: InProgress: In Progress")
	pair.End(nil)
	c.want("hci0/dev1 Device1 Bonded=true") // Paired waits for the services
	check(t, "Paired", c.get("hci0/dev1", "Device1", "Paired"), "false")
	h.shim.Resolved(dev1, database(), 23)
	c.want("hci0/dev1 Device1 Paired=true ServicesResolved=true", "Pair: ok")
	c.send("hci0/dev1", "Device1.Pair")
	c.want("Pair: AlreadyExists: Already Exists")
	c.send("hci0/dev1", "Device1.CancelPairing") // recorded in matrix_pairing: it drops the link all the same
	h.links.Next(t, "Disconnect")
	c.want("CancelPairing: DoesNotExist: Does Not Exist")
	h.shim.LinkDown(dev1, ble.DisconnectLocal)
	c.lines()
	st, _ := h.store.Device(dev1)
	check(t, "stored", st, bluezshim.DeviceState{Name: "One", Bonded: true})
	h.clock.Advance(time.Hour)
	c.want()
}

func TestPairWhenResolved(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database())
	c.send("hci0/dev1", "Device1.Pair")
	h.links.Next(t, "Pair").End(nil)
	c.want("hci0/dev1 Device1 Bonded=true Paired=true", "Pair: ok")
	h.shim.Paired(dev1, true)
	c.want()
	h.shim.Paired(dev1, false)
	c.want("hci0/dev1 Device1 Bonded=false Paired=false")
	if _, ok := h.store.Device(dev1); ok {
		t.Error("the store has a device that is not bonded any more")
	}
	h.shim.Paired(dev1, true)
	c.want("hci0/dev1 Device1 Bonded=true Paired=true")
}

// TestPairedIsNotHeldForEver: the services never came.
func TestPairedIsNotHeldForEver(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.found(c)
	c.send("hci0/dev1", "Device1.Pair")
	op := h.links.Next(t, "Connect")
	h.shim.LinkUp(dev1, 23)
	op.End(nil)
	h.links.Next(t, "Pair").End(nil)
	c.want("hci0/dev1 Device1 Connected=true", "hci0/dev1 Device1 Bonded=true")
	h.shim.LinkDown(dev1, ble.DisconnectTimeout)
	c.want("Pair: AuthenticationCanceled: Authentication Canceled", "hci0/dev1 Bearer.LE1.Disconnected org.bluez.Reason.Timeout Connection timeout",
		"hci0/dev1 Device1.Disconnected org.bluez.Reason.Timeout Connection timeout", "hci0/dev1 Device1 Connected=false Paired=true")
}

func TestPairErrors(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.found(c)
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&ble.ConnectError{Failure: ble.ConnectTimeout}, "ConnectionAttemptFailed: Page Timeout"},
		{ble.ErrTimeout, "AuthenticationTimeout: Authentication Timeout"},
	} {
		c.send("hci0/dev1", "Device1.Pair")
		h.links.Next(t, "Connect").End(tt.err)
		c.want("Pair: " + tt.want)
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{ble.ErrTimeout, "AuthenticationTimeout: Authentication Timeout"},
		{ble.ErrCanceled, "AuthenticationCanceled: Authentication Canceled"},
		{ble.ErrNotConnected, "AuthenticationCanceled: Authentication Canceled"},
		{ble.ErrNotSupported, "NotSupported: Operation is not supported (not supported by the proxy)"},
		{&ble.PairError{Reason: 5}, "AuthenticationFailed: Authentication Failed"},
		{errors.New("anything"), "AuthenticationFailed: Authentication Failed"},
	} {
		h.connect(c, database())
		c.send("hci0/dev1", "Device1.Pair")
		h.links.Next(t, "Pair").End(tt.err)
		c.want("Pair: " + tt.want)
		h.links.Next(t, "Disconnect")
		h.shim.LinkDown(dev1, ble.DisconnectLocal)
		c.lines()
	}
}

func TestCancelPairing(t *testing.T) {
	t.Parallel()
	const canceled = "Pair: AuthenticationCanceled: Authentication Canceled"
	t.Run("nothing pending", func(t *testing.T) {
		t.Parallel()
		h := start(t, 1)
		c := h.client()
		h.connected(c, database())
		c.send("hci0/dev1", "Device1.CancelPairing")
		c.want("CancelPairing: DoesNotExist: Does Not Exist")
		h.links.None(t)
	})
	t.Run("connecting", func(t *testing.T) {
		t.Parallel()
		h := start(t, 1)
		c := h.client()
		h.found(c)
		c.send("hci0/dev1", "Device1.Pair")
		op := h.links.Next(t, "Connect")
		c.send("hci0/dev1", "Device1.CancelPairing")
		h.links.Next(t, "CancelConnect")
		c.want(canceled, "CancelPairing: ok")
		op.End(ble.ErrCanceled)
		c.want("- hci0/dev1")
	})
	t.Run("pairing", func(t *testing.T) {
		t.Parallel()
		h := start(t, 1)
		c := h.client()
		h.connected(c, database())
		c.send("hci0/dev1", "Device1.Pair")
		op := h.links.Next(t, "Pair")
		c.send("hci0/dev1", "Device1.CancelPairing")
		h.links.Next(t, "Disconnect")
		c.want(canceled, "CancelPairing: ok")
		op.End(nil) // too late
		h.shim.LinkDown(dev1, ble.DisconnectLocal)
		c.want(downLines("Local", "Connection terminated by local host")...)
	})
	t.Run("the caller leaves", func(t *testing.T) {
		t.Parallel()
		h := start(t, 1)
		watch, c := h.client(), h.client()
		h.found(c)
		c.send("hci0/dev1", "Device1.Pair")
		op := h.links.Next(t, "Connect")
		h.leave(c)
		h.links.Next(t, "CancelConnect")
		op.End(ble.ErrCanceled)
		got := watch.lines()
		check(t, "the last line", got[len(got)-1], "- hci0/dev1")
	})
	t.Run("removed while pairing", func(t *testing.T) {
		t.Parallel()
		h := start(t, 1)
		c := h.client()
		h.connected(c, database())
		c.send("hci0/dev1", "Device1.Pair")
		op := h.links.Next(t, "Pair")
		c.send("hci0", "Adapter1.RemoveDevice", fullPath("hci0/dev1"))
		h.links.Next(t, "CancelConnect")
		op.End(ble.ErrCanceled)
		h.links.Next(t, "Disconnect")
		h.shim.LinkDown(dev1, ble.DisconnectLocal)
		want := append([]string{canceled}, downLines("Local", "Connection terminated by local host")...)
		c.want(append(want, "RemoveDevice: ok", "- hci0/dev1")...)
	})
	t.Run("removed while connecting to pair", func(t *testing.T) {
		t.Parallel()
		h := start(t, 1)
		c := h.client()
		h.found(c)
		c.send("hci0/dev1", "Device1.Pair")
		op := h.links.Next(t, "Connect")
		c.send("hci0", "Adapter1.RemoveDevice", fullPath("hci0/dev1"))
		h.links.Next(t, "CancelConnect")
		c.want("- hci0/dev1", "RemoveDevice: ok")
		op.End(ble.ErrCanceled)
		c.want(canceled)
		check(t, "peers", h.shim.Peers(), 0)
	})
	t.Run("the link is lost", func(t *testing.T) {
		t.Parallel()
		h := start(t, 1)
		c := h.client()
		h.connected(c, database())
		c.send("hci0/dev1", "Device1.Pair")
		h.links.Next(t, "Pair")
		h.shim.LinkDown(dev1, ble.DisconnectTimeout)
		c.want(append([]string{canceled}, downLines("Timeout", "Connection timeout")...)...)
	})
}
