// Package h4 writes packets of the Host Controller Interface, as a controller sends them to its host. No I/O, no state.
package h4

import "bluez-esphome/internal/ble"

// H4 packet types (Bluetooth Core, Vol 4 Part A, 2).
const (
	Command = 0x01
	ACL     = 0x02
	Event   = 0x04
)

// Events and the subevents of LE Meta (Bluetooth Core, Vol 4 Part E, 7.7 and 7.7.65).
const (
	EventDisconnection    = 0x05
	EventEncryption       = 0x08
	EventCommandComplete  = 0x0e
	EventCommandStatus    = 0x0f
	EventMeta             = 0x3e
	MetaConnection        = 0x01
	MetaAdvertisingReport = 0x02
	MetaConnectionUpdate  = 0x03
)

// Event types of an LE Advertising Report (Bluetooth Core, Vol 4 Part E, 7.7.65.2). A proxy does not say whether an
// advertisement was connectable, and the kernel connects to what is reported as ADV_IND only.
const (
	ReportConnectable  = 0x00
	ReportScanResponse = 0x04
)

// MaxLegacy is the longest data of one report of a legacy advertisement, in bytes.
const MaxLegacy = 31

// AppendReport appends an LE Advertising Report with one report of that event type, H4 type included. data has at most
// MaxLegacy bytes.
func AppendReport(b []byte, kind byte, a ble.Address, t ble.AddressType, rssi int8, data []byte) []byte {
	if !ble.KnownRSSI(rssi) {
		rssi = ble.NoRSSI
	}
	b = append(b, Event, EventMeta, byte(12+len(data)), MetaAdvertisingReport, 1, kind, byte(WireType(t)))
	b = AppendAddress(b, a)
	b = append(b, byte(len(data)))
	b = append(b, data...)
	return append(b, byte(rssi))
}

// AppendAddress appends an address as HCI has it, the least significant byte first.
func AppendAddress(b []byte, a ble.Address) []byte {
	for i := range 6 {
		b = append(b, byte(a>>(8*i)))
	}
	return b
}

// AddressAt reads an address as HCI has it, from the first 6 bytes of b.
func AddressAt(b []byte) ble.Address {
	var a ble.Address
	for i := range 6 {
		a |= ble.Address(b[i]) << (8 * i)
	}
	return a
}

// WireType is an address type as in HCI. What the proxy resolved is reported by its identity address, of which a host
// knows no key.
func WireType(t ble.AddressType) ble.AddressType { return t & 1 }

// Split cuts what a proxy put together: up to 31 bytes of an advertisement, then up to 31 of its scan response. The
// advertisement ends with the last AD structure that fits; where the structures are broken, with 31 bytes. Hosts join
// both again, so a wrong guess does no harm.
func Split(data []byte) (adv, rsp []byte) {
	if len(data) <= MaxLegacy {
		return data, nil
	}
	end := 0
	for i := 0; i < len(data); {
		next := i + 1 + int(data[i])
		if next > len(data) || next > MaxLegacy {
			break
		}
		i, end = next, next
	}
	if end == 0 || len(data)-end > MaxLegacy {
		end = MaxLegacy
	}
	return data[:end], data[end:min(len(data), end+MaxLegacy)]
}
