package bluezshim_test

import (
	"testing"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
)

// TestAdapterOfAnOfflineProxy: it is there before its proxy is, and then takes over what the proxy says of itself.
func TestAdapterOfAnOfflineProxy(t *testing.T) {
	t.Parallel()
	h := start(t, 2, func(cfg *bluezshim.Config) {
		cfg.Adapters[1].Offline, cfg.Adapters[1].Name = true, "as it was"
	})
	c := h.client()
	check(t, "Powered", c.get("hci1", "Adapter1", "Powered"), "false")
	check(t, "Alias", c.get("hci1", "Adapter1", "Alias"), "as it was")
	h.shim.AddAdapter(bluezshim.AdapterConfig{Index: 1, Address: 7, Name: "as it is", Via: "new"})
	c.want("hci1 Adapter1 Address=00:00:00:00:00:07 Alias=as it is Name=as it is")
	h.shim.SetOnline(1, true)
	c.want("hci1 Adapter1 PowerState=off-enabling", "hci1 Adapter1 PowerState=on Powered=true")
	h.air[1].Report(t, heard(dev1, plain("One")))
	c.lines()
	c.send("hci1/dev1", "Device1.Connect")
	op := h.links.Next(t, "Connect via new")
	op.End(ble.ErrNotConnected)
	c.lines()
}

// TestPowerOfAnotherAdapter: only the adapter that was asked for a link, or for an attempt at one, ends it.
func TestPowerOfAnotherAdapter(t *testing.T) {
	t.Parallel()
	h := start(t, 3)
	c := h.client()
	for _, air := range h.air {
		air.Report(t, heard(dev1, plain("One")))
	}
	c.lines()
	c.send("hci1/dev1", "Device1.Connect")
	op := h.links.Next(t, "Connect via proxy1")
	for _, other := range []string{"hci0", "hci2"} {
		c.set(other, "Adapter1", "Powered", false)
		c.lines()
	}
	h.links.None(t)
	h.shim.LinkUp(dev1, 23)
	op.End(nil)
	c.lines()
	c.set("hci2", "Adapter1", "Powered", true)
	c.lines()
	h.shim.SetOnline(2, false)
	h.shim.SetOnline(1, false) // that link ends by itself
	c.lines()
	h.links.None(t)
	h.shim.SetOnline(1, true)
	c.lines()
	check(t, "Connected", c.get("hci1/dev1", "Device1", "Connected"), "true")
	c.set("hci1", "Adapter1", "Powered", false)
	h.links.Next(t, "Disconnect")
	h.shim.LinkDown(dev1, ble.DisconnectLocal)
	c.lines()
}
