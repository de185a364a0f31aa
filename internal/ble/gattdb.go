package ble

// Properties is the characteristic properties octet (Bluetooth Core, Vol 3
// Part G, 3.3.1.1), as message 71 carries it.
type Properties uint8

// Characteristic properties.
const (
	PropBroadcast            Properties = 0x01
	PropRead                 Properties = 0x02
	PropWriteWithoutResponse Properties = 0x04
	PropWrite                Properties = 0x08
	PropNotify               Properties = 0x10
	PropIndicate             Properties = 0x20
	PropSignedWrite          Properties = 0x40
	PropExtended             Properties = 0x80
)

// Has reports whether any of q is set.
func (p Properties) Has(q Properties) bool { return p&q != 0 }

// ExtendedProperties is the value of the Characteristic Extended Properties descriptor
// (Bluetooth Core, Vol 3 Part G, 3.3.3.1), 0 where there is none or it was not read.
type ExtendedProperties uint8

// Extended properties.
const (
	ExtReliableWrite       ExtendedProperties = 0x01
	ExtWritableAuxiliaries ExtendedProperties = 0x02
)

// Has reports whether any of q is set.
func (p ExtendedProperties) Has(q ExtendedProperties) bool { return p&q != 0 }

// Database is the GATT database of one peripheral, services, characteristics
// and descriptors each sorted by handle. It is immutable once built.
type Database struct {
	Services []Service `json:"services"`
}

// Service is one GATT service. Handle is its declaration (start) handle, EndHandle the last handle it may use.
type Service struct {
	Handle          uint16           `json:"handle"`
	EndHandle       uint16           `json:"end_handle"`
	UUID            UUID             `json:"uuid"`
	Characteristics []Characteristic `json:"characteristics,omitempty"`
}

// Characteristic is one GATT characteristic. Handle is the declaration handle
// that BlueZ names object paths after; ValueHandle is what ESPHome reports
// and what operations use.
type Characteristic struct {
	Handle      uint16             `json:"handle"`
	ValueHandle uint16             `json:"value_handle"`
	UUID        UUID               `json:"uuid"`
	Properties  Properties         `json:"properties"`
	Extended    ExtendedProperties `json:"extended,omitempty"`
	Descriptors []Descriptor       `json:"descriptors,omitempty"`
}

// Descriptor is one GATT descriptor.
type Descriptor struct {
	Handle uint16 `json:"handle"`
	UUID   UUID   `json:"uuid"`
}

// Well-known attribute types.
var (
	UUIDServiceChanged = UUID16(0x2a05)
	UUIDDatabaseHash   = UUID16(0x2b2a)
	UUIDExtendedProps  = UUID16(0x2900)
	UUIDCCCD           = UUID16(0x2902)
	UUIDDeviceName     = UUID16(0x2a00)
	UUIDAppearance     = UUID16(0x2a01)
	UUIDBatteryLevel   = UUID16(0x2a19)
	UUIDPnPID          = UUID16(0x2a50)
)

// CCCD returns the handle of the Client Characteristic Configuration
// descriptor of c, or 0.
func (c *Characteristic) CCCD() uint16 { return c.Descriptor(UUIDCCCD) }

// Descriptor returns the handle of the first descriptor of c with UUID u, or 0.
func (c *Characteristic) Descriptor(u UUID) uint16 {
	for _, d := range c.Descriptors {
		if d.UUID == u {
			return d.Handle
		}
	}
	return 0
}

// Find returns the first characteristic with UUID u, or nil.
func (db *Database) Find(u UUID) *Characteristic {
	for i := range db.Services {
		for j := range db.Services[i].Characteristics {
			if c := &db.Services[i].Characteristics[j]; c.UUID == u {
				return c
			}
		}
	}
	return nil
}
