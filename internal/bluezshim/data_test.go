package bluezshim_test

import (
	"bluez-esphome/internal/ble"
)

// Paths of the test database's attributes below hci0/dev1.
const (
	svc      = "hci0/dev1/service0010"
	charRW   = svc + "/char0011" // read, write
	charCmd  = svc + "/char0013" // write-without-response
	charNtf  = svc + "/char0015" // notify
	charInd  = svc + "/char0018" // indicate
	charAll  = svc + "/char001b" // read, write-without-response, write, notify
	charRel  = svc + "/char001f" // read, write, extended: reliable-write
	charNone = svc + "/char0022"
	descNtf  = charNtf + "/desc0017"
	descUser = charAll + "/desc001e"
	charName = "hci0/dev1/service0001/char0002" // in a service that BlueZ claims
	battery  = "hci0/dev1/service0030/char0031"
)

var uuidCustom = ble.UUID{0xa5, 0xa5, 1, 0, 0x10, 0, 0x40, 0, 0x80, 0, 0, 0x80, 0x5f, 0x9b, 0, 1}

func custom(n byte) ble.UUID {
	u := uuidCustom
	u[3] = n
	return u
}

// customService is enough for most tests: nothing in it is read by the shim itself.
func customService() ble.Service {
	cccd := func(h uint16) []ble.Descriptor { return []ble.Descriptor{{Handle: h, UUID: ble.UUIDCCCD}} }
	return ble.Service{Handle: 0x10, EndHandle: 0x2f, UUID: uuidCustom, Characteristics: []ble.Characteristic{
		{Handle: 0x11, ValueHandle: 0x12, UUID: custom(1), Properties: ble.PropRead | ble.PropWrite},
		{Handle: 0x13, ValueHandle: 0x14, UUID: custom(2), Properties: ble.PropWriteWithoutResponse},
		{Handle: 0x15, ValueHandle: 0x16, UUID: custom(3), Properties: ble.PropNotify, Descriptors: cccd(0x17)},
		{Handle: 0x18, ValueHandle: 0x19, UUID: custom(4), Properties: ble.PropIndicate, Descriptors: cccd(0x1a)},
		{
			Handle: 0x1b, ValueHandle: 0x1c, UUID: custom(5),
			Properties:  ble.PropRead | ble.PropWrite | ble.PropWriteWithoutResponse | ble.PropNotify,
			Descriptors: append(cccd(0x1d), ble.Descriptor{Handle: 0x1e, UUID: ble.UUID16(0x2901)}),
		},
		{
			Handle: 0x1f, ValueHandle: 0x20, UUID: custom(6), Properties: ble.PropRead | ble.PropWrite | ble.PropExtended,
			Extended: ble.ExtReliableWrite, Descriptors: []ble.Descriptor{{Handle: 0x21, UUID: ble.UUIDExtendedProps}},
		},
		{Handle: 0x22, ValueHandle: 0x23, UUID: custom(7)},
	}}
}

func database(services ...ble.Service) *ble.Database { return &ble.Database{Services: services} }

func gapService() ble.Service {
	return ble.Service{Handle: 1, EndHandle: 5, UUID: ble.UUID16(0x1800), Characteristics: []ble.Characteristic{
		{Handle: 2, ValueHandle: 3, UUID: ble.UUIDDeviceName, Properties: ble.PropRead | ble.PropWrite | ble.PropWriteWithoutResponse},
		{Handle: 4, ValueHandle: 5, UUID: ble.UUIDAppearance, Properties: ble.PropRead},
	}}
}

func batteryService() ble.Service {
	return ble.Service{Handle: 0x30, EndHandle: 0x3f, UUID: ble.UUID16(0x180f), Characteristics: []ble.Characteristic{{
		Handle: 0x31, ValueHandle: 0x32, UUID: ble.UUIDBatteryLevel, Properties: ble.PropRead | ble.PropNotify,
		Descriptors: []ble.Descriptor{{Handle: 0x33, UUID: ble.UUIDCCCD}},
	}}}
}

func infoService() ble.Service {
	return ble.Service{Handle: 0x40, EndHandle: 0x4f, UUID: ble.UUID16(0x180a), Characteristics: []ble.Characteristic{
		{Handle: 0x41, ValueHandle: 0x42, UUID: ble.UUIDPnPID, Properties: ble.PropRead},
	}}
}

// heard is a report of a discovered, connectable device.
func heard(a ble.Address, adv ble.Advertisement) *ble.Report {
	return &ble.Report{
		Address: a, Type: ble.Public, RSSI: -60, Payloads: []*ble.Advertisement{&adv}, Last: &adv,
		Connectable: true, Discovered: true,
	}
}

// plain is an advertisement with flags and a name.
func plain(name string) ble.Advertisement {
	return ble.Advertisement{Flags: 6, HasFlags: true, Name: name, NameComplete: true}
}

// found has hci0 discover dev1 and stop again, so that the object stays for 30 s.
func (h *harness) found(c *client) {
	h.t.Helper()
	c.send("hci0", "Adapter1.StartDiscovery")
	c.lines()
	h.air[0].Report(h.t, heard(dev1, plain("One")))
	c.send("hci0", "Adapter1.StopDiscovery")
	c.lines()
}

// connected has dev1 found, connected and resolved.
func (h *harness) connected(c *client, db *ble.Database) {
	h.t.Helper()
	h.found(c)
	h.connect(c, db)
}

// connect connects dev1, which was found before, and resolves it. An MTU of 247 is usual.
func (h *harness) connect(c *client, db *ble.Database) {
	h.t.Helper()
	c.send("hci0/dev1", "Device1.Connect")
	op := h.links.Next(h.t, "Connect")
	h.shim.LinkUp(dev1, 247)
	op.End(nil)
	h.shim.Resolved(dev1, db, 247)
	c.lines()
}
