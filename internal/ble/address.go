package ble

import (
	"fmt"
	"strconv"
	"strings"
)

// Address is a 48-bit Bluetooth device address in the low bits, the most
// significant octet first: AA:BB:CC:DD:EE:FF is 0xAABBCCDDEEFF. It is the
// form the ESPHome native API uses on the wire.
type Address uint64

// addressMask keeps the 48 bits of an address; peers may send garbage above.
const addressMask = 1<<48 - 1

// AddressFromWire masks a native-API address to its 48 bits.
func AddressFromWire(v uint64) Address { return Address(v & addressMask) }

// ParseAddress reads six colon-separated hexadecimal octets, in either case.
func ParseAddress(s string) (Address, error) {
	parts := strings.Split(s, ":")
	if len(parts) != 6 {
		return 0, fmt.Errorf("cannot parse Bluetooth address %q: want AA:BB:CC:DD:EE:FF", s)
	}
	var a Address
	for _, p := range parts {
		n, err := strconv.ParseUint(p, 16, 8)
		if err != nil || len(p) != 2 {
			return 0, fmt.Errorf("cannot parse Bluetooth address %q: want AA:BB:CC:DD:EE:FF", s)
		}
		a = a<<8 | Address(n)
	}
	return a, nil
}

const upperHex = "0123456789ABCDEF"

// String gives the upper-case colon form that BlueZ uses.
func (a Address) String() string { return a.join(":") }

// PathElement gives the form BlueZ uses in object paths, "dev_AA_BB_…".
func (a Address) PathElement() string { return "dev_" + a.join("_") }

// Dashed gives the form BlueZ uses as the Alias of a nameless device.
func (a Address) Dashed() string { return a.join("-") }

func (a Address) join(sep string) string {
	var b [17]byte
	return string(a.Append(b[:0], sep))
}

// Hex gives 12 lower-case digits, as in mDNS records and the names of files.
func (a Address) Hex() string { return fmt.Sprintf("%012x", uint64(a)) }

// Append appends the six bytes in upper-case digits, with sep between them.
func (a Address) Append(b []byte, sep string) []byte {
	for shift := 40; shift >= 0; shift -= 8 {
		o := byte(a >> shift)
		b = append(b, upperHex[o>>4], upperHex[o&15])
		if shift > 0 {
			b = append(b, sep...)
		}
	}
	return b
}

// MarshalText writes the colon form, so that addresses read well in JSON.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the colon form.
func (a *Address) UnmarshalText(b []byte) error {
	v, err := ParseAddress(string(b))
	if err == nil {
		*a = v
	}
	return err
}

// AddressType is the native API's address_type of an advertisement
// (ESPHome native API, BluetoothLERawAdvertisement field 3).
type AddressType uint8

// Address types. The identity types are addresses that the proxy resolved
// from a resolvable private one.
const (
	Public         AddressType = 0
	Random         AddressType = 1
	PublicIdentity AddressType = 2
	RandomIdentity AddressType = 3
)

// String gives what BlueZ shows as Device1.AddressType.
func (t AddressType) String() string {
	if t == Random || t == RandomIdentity {
		return "random"
	}
	return "public"
}

// Private reports whether a is a private address of type t: random with the
// two top bits 00 (non-resolvable) or 01 (resolvable). BlueZ never makes such a device
// persistent (bluetoothd 5.87, temporary devices).
func (a Address) Private(t AddressType) bool {
	return t == Random && a>>46 <= 1
}
