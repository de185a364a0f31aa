package inspect

import (
	"cmp"
	"slices"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/scanner"
)

// airPath is the object that tells what all proxies hear, whether or not a program discovers.
const airPath = Folder + "/air"

// Bounds of one answer: its encoding keeps the loop.
const (
	maxHeard    = 1000 // devices
	maxSources  = 16   // of a device, the strongest
	maxConnects = 256
)

// Air is what the answers of org.bluez_esphome.Air1 are made of. Its functions are goroutine-safe, and none is nil.
type Air struct {
	Recent    func(n int) []scanner.Device // those heard last first; sources with the names of their proxies
	Connected func(a ble.Address) bool
	LastError func(a ble.Address) string
	Connects  func(n int) []gatt.Attempt // the newest first, with the names of proxies
}

// ShowAir adds org.bluez_esphome.Air1: Devices gives at most so many devices as they are heard, those heard last first,
// and Connects at most so many of the last calls of Connect, the newest first. They are methods, so that a client that
// lists all objects does not pay for them.
func ShowAir(conn *dbusobj.Conn, air Air) {
	in := []dbusobj.Arg{{Name: "limit", Type: "u"}}
	limit := func(c *dbusobj.Call, most int) int { return int(min(c.Body[0].(uint32), uint32(most))) }
	conn.Add(airPath, nil, &dbusobj.Interface{
		Name: "org.bluez_esphome.Air1",
		Methods: []dbusobj.Method{
			{Name: "Devices", In: in, Out: []dbusobj.Arg{{Name: "devices", Type: "aa{sv}"}}, Call: func(c *dbusobj.Call) {
				devices := air.Recent(limit(c, maxHeard))
				c.Reply(func(e *dbusobj.Encoder) {
					e.Array("a{sv}", func() {
						for _, d := range devices {
							air.encodeDevice(e, d)
						}
					})
				})
			}},
			{Name: "Connects", In: in, Out: []dbusobj.Arg{{Name: "connects", Type: "aa{sv}"}}, Call: func(c *dbusobj.Call) {
				list := air.Connects(limit(c, maxConnects))
				c.Reply(func(e *dbusobj.Encoder) { EncodeConnects(e, list) })
			}},
		},
	})
}

// encodeDevice writes one device: Address, AddressType (public or random), Name, RSSI (dBm of the owner, absent:
// unknown), LastHeard (seconds since 1970), Connected, LastError ("" for none), Sources (Proxy as its name, RSSI,
// LastHeard, IntervalMs, Owner).
func (air Air) encodeDevice(e *dbusobj.Encoder, d scanner.Device) {
	sources := d.Sources
	if len(sources) > maxSources {
		sources = slices.SortedFunc(slices.Values(sources), func(a, b ble.Source) int { return cmp.Compare(b.RSSI, a.RSSI) })[:maxSources]
	}
	e.Array("{sv}", func() {
		text(e, "Address", d.Address.String())
		text(e, "AddressType", d.Type.String())
		text(e, "Name", d.Name)
		if d.RSSI != 0 {
			signed(e, "RSSI", d.RSSI)
		}
		number(e, "LastHeard", seconds(d.LastHeard))
		yes(e, "Connected", air.Connected(d.Address))
		text(e, "LastError", air.LastError(d.Address))
		entry(e, "Sources", "aa{sv}", func() {
			e.Array("a{sv}", func() {
				for _, s := range sources {
					e.Array("{sv}", func() {
						text(e, "Proxy", s.Proxy)
						signed(e, "RSSI", s.RSSI)
						number(e, "LastHeard", seconds(s.LastHeard))
						entry(e, "IntervalMs", "u", func() { e.Uint32(uint32(s.Interval.Milliseconds())) })
						yes(e, "Owner", s.Owner)
					})
				}
			})
		})
	})
}

// EncodeConnects writes calls of Connect as an aa{sv}: At (seconds since 1970), Device, Via (the only proxy that was
// allowed, "" any), Asked, Tries (Proxy, RSSI if it is known, Blind, Cached, TookMs, Result), SlotWaitMs, TookMs,
// Result (a word of gatt.Results, "" under way), Error, Link (its number in the log, 0 none), Proxy, Ended (seconds
// since 1970, 0 not), Why, Local (somebody here wanted the end), Lost (notifications that a program lost).
func EncodeConnects(e *dbusobj.Encoder, list []gatt.Attempt) {
	e.Array("a{sv}", func() {
		for _, at := range list {
			e.Array("{sv}", func() {
				number(e, "At", seconds(at.At))
				text(e, "Device", at.Device.String())
				text(e, "Via", at.Via)
				entry(e, "Asked", "as", func() { e.Strings(at.Asked) })
				entry(e, "Tries", "aa{sv}", func() { encodeTries(e, at.Tries) })
				number(e, "SlotWaitMs", uint64(at.SlotWait.Milliseconds()))
				number(e, "TookMs", uint64(at.Took.Milliseconds()))
				text(e, "Result", at.Result)
				text(e, "Error", at.Error)
				number(e, "Link", at.Link)
				text(e, "Proxy", at.Proxy)
				number(e, "Ended", seconds(at.Ended))
				text(e, "Why", at.Why)
				yes(e, "Local", at.Local)
				number(e, "Lost", at.Lost)
			})
		}
	})
}

func encodeTries(e *dbusobj.Encoder, tries []gatt.Try) {
	e.Array("a{sv}", func() {
		for _, t := range tries {
			e.Array("{sv}", func() {
				text(e, "Proxy", t.Proxy)
				if ble.KnownRSSI(t.RSSI) {
					entry(e, "RSSI", "n", func() { e.Int16(int16(t.RSSI)) })
				}
				yes(e, "Blind", t.Blind)
				yes(e, "Cached", t.Cached)
				number(e, "TookMs", uint64(t.Took.Milliseconds()))
				text(e, "Result", t.Result)
			})
		}
	})
}
