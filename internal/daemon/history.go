package daemon

import (
	"fmt"
	"strings"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/inspect"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/web"
)

// maxDeviceConnects is how many of a device's Connects its object tells of: every client that lists all objects gets them.
const maxDeviceConnects = 4

// connects lists the last calls of Connect, the newest first, with the names of proxies.
func (d *Daemon) connects(n int) []gatt.Attempt { return d.namedVia(d.links.Attempts(n)) }

func (d *Daemon) namedVia(list []gatt.Attempt) []gatt.Attempt {
	for i := range list {
		if list[i].Via != "" {
			list[i].Via = d.proxies.Label(list[i].Via)
		}
	}
	return list
}

// encodeDeviceConnects writes those of one device for org.bluez_esphome.Device1.
func (d *Daemon) encodeDeviceConnects(a ble.Address, e *dbusobj.Encoder) {
	inspect.EncodeConnects(e, d.namedVia(d.links.DeviceAttempts(a, maxDeviceConnects)))
}

// deviceError says what went wrong last with a device: when, through which proxy, and what; "" if nothing did.
func (d *Daemon) deviceError(a ble.Address) string {
	t := d.links.DeviceTrouble(a)
	if t.What == "" {
		return ""
	}
	return fmt.Sprintf("%s: %s", t.At.Format("2006-01-02 15:04:05"), t.What)
}

// Connects implements web.Source.
func (s webSource) Connects(n int) []web.Connect {
	list := s.d.connects(n)
	out := make([]web.Connect, len(list))
	for i, a := range list {
		w := web.Connect{
			At: a.At, Device: a.Device, Name: s.d.nameOf(a.Device), Asked: a.Asked, SlotWait: a.SlotWait, Took: a.Took, Result: a.Result,
			Error: a.Error, Proxy: a.Proxy, Ended: a.Ended, Why: a.Why, Local: a.Local, Lost: a.Lost,
		}
		for _, t := range a.Tries {
			if t.RSSI == unknownRSSI {
				t.RSSI = 0
			}
			w.Tries = append(w.Tries, web.Try{Proxy: t.Proxy, RSSI: t.RSSI, Took: t.Took, Result: t.Result})
		}
		out[i] = w
	}
	return out
}

// unknownRSSI is gatt.Try's.
const unknownRSSI = -127

// Remarks implements web.Source.
func (s webSource) Remarks() (out []string) {
	problem, restart := s.d.onDisk.Load().Remarks()
	for line := range strings.Lines(problem) {
		out = append(out, "The configuration on disk is not applied: "+strings.TrimSpace(line))
	}
	if len(restart) > 0 {
		out = append(out, "Restart to apply: "+strings.Join(restart, ", "))
	}
	return out
}

// Detail implements web.Source.
func (s webSource) Detail(a ble.Address) (web.Detail, bool) {
	dev, heard := s.d.table.Device(a)
	st, _ := s.d.store.Device(a)
	out := web.Detail{Type: dev.Type, Connectable: dev.Connectable, Bonded: st.Bonded, Last: dev.Last, LastError: s.d.deviceError(a), Sources: s.d.named(dev.Sources)}
	for _, h := range s.d.links.Holds() {
		if h.Address == a && h.State == gatt.HoldConnected {
			out.Via, out.Since, out.Owners = s.d.proxies.Label(h.Proxy), h.Since, s.d.owners.Holders(a)
		}
	}
	return out, heard || out.Via != ""
}

// Outcomes implements web.Source.
func (s webSource) Outcomes() web.Outcomes {
	c := s.d.links.Counts()
	return web.Outcomes{Connects: c.Connects, Ends: c.Ends, ValuesLost: c.ValuesLost}
}

// showAir publishes what is heard and what was tried.
func (d *Daemon) showAir() {
	inspect.ShowAir(d.conn, inspect.Air{
		Recent: func(n int) []scanner.Device {
			list := d.table.Recent(n)
			for i := range list {
				list[i].Sources = d.named(list[i].Sources)
			}
			return list
		},
		Connected: d.links.Connected, LastError: d.deviceError, Connects: d.connects,
	})
}
