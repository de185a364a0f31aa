package ble

// RawAdvert is one advertisement as a proxy forwards it (ESPHome native API,
// message 93): AD structures of the advertisement, and of the scan response where
// the proxy merged it, up to 62 bytes. Adverts that a proxy already decoded
// (message 67) arrive in the same form, re-encoded. RSSI is in dBm; [KnownRSSI] tells
// whether it is known. Data is only valid during the call that passes it.
type RawAdvert struct {
	Address Address
	Type    AddressType
	RSSI    int8
	Data    []byte
}

// Advertisement is a parsed payload. It is immutable once shared.
type Advertisement struct {
	Raw              []byte // the AD structures it was parsed from
	Flags            uint8
	HasFlags         bool
	Name             string // complete, else shortened, local name; raw bytes, may be invalid UTF-8
	NameComplete     bool
	ServiceUUIDs     []UUID // in order of appearance, without duplicates
	ServiceData      []ServiceData
	ManufacturerData []ManufacturerData
	TxPower          int8
	HasTxPower       bool
	Appearance       uint16
	HasAppearance    bool
	// Other are the AD types that BlueZ does not parse itself and shows in
	// AdvertisingData (bluetoothd 5.87, Device1 AdvertisingData).
	Other []ADStructure
}

// ServiceData is one service data record; the UUID is not part of Data.
type ServiceData struct {
	UUID UUID
	Data []byte
}

// ManufacturerData is one manufacturer record; the company id is not part of Data.
type ManufacturerData struct {
	Company uint16
	Data    []byte
}

// ADStructure is one AD structure: its type and its data.
type ADStructure struct {
	Type uint8
	Data []byte
}
