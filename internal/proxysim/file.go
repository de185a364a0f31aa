package proxysim

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/btsnoop"
)

// HexBytes is a byte string that a peripheral file gives in hexadecimal.
type HexBytes []byte

// MarshalText implements encoding.TextMarshaler.
func (h HexBytes) MarshalText() ([]byte, error) {
	return []byte(hex.EncodeToString(h)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *HexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("cannot parse hexadecimal %q: %w", text, err)
	}
	*h = b
	return nil
}

// The file format. Fields that it does not know are ignored, so that a file
// may carry remarks of its own.
type (
	fileDoc struct {
		Devices []DeviceSpec `json:"devices"`
	}

	// DeviceSpec describes one peripheral, in the terms of a peripheral file.
	DeviceSpec struct {
		ID          string      `json:"id"` // unique; names the control socket
		Name        string      `json:"name"`
		Address     ble.Address `json:"address"`
		AddressType string      `json:"address_type"` // public, random, public-identity or random-identity
		Connectable bool        `json:"connectable"`
		Advert      AdvertSpec  `json:"advertisement"`
		MTU         uint16      `json:"mtu"` // the largest it agrees to; 0: 23
		GATT        GATTSpec    `json:"gatt"`

		// RSSI is the signal strength in dBm at each proxy, by its name; "*" stands for
		// every proxy that is not named here or in UnheardBy. A proxy that is not in a
		// present map does not hear the peripheral; without a map all hear it at -60.
		RSSI map[string]int8 `json:"rssi"`
		// UnheardBy names proxies that do not hear it in spite of "*".
		UnheardBy []string `json:"unheard_by"`
		// RSSIJitter makes RSSI vary by up to so many dB either way.
		RSSIJitter uint8 `json:"rssi_jitter"`
		// ConnectError is, by the proxy's name, the code with which each attempt to connect
		// fails as soon as the peripheral is heard.
		ConnectError map[string]int32 `json:"connect_error"`
		// PairError, if not 0, is the SMP failure that refuses every pairing.
		PairError int32 `json:"pair_error"`
		// SecurityRequest makes the peripheral ask for encryption on each
		// connection, so that it pairs without the client's doing.
		SecurityRequest bool `json:"security_request"`
		// Fast lets requests and commands pass without the time of connection events, for tests
		// of many.
		Fast bool `json:"fast"`
	}

	// AdvertSpec is what a peripheral advertises: raw bytes, or else fields to
	// build them from.
	AdvertSpec struct {
		Flags            *uint8              `json:"flags"`
		ServiceUUIDs     []ble.UUID          `json:"service_uuids"`
		LocalName        string              `json:"local_name"`
		Appearance       *uint16             `json:"appearance"`
		TxPower          *int8               `json:"tx_power"`
		ManufacturerData map[string]HexBytes `json:"manufacturer_data"` // by decimal company
		ServiceData      map[string]HexBytes `json:"service_data"`      // by UUID

		RawAdvertisement *HexBytes `json:"raw_advertisement"`
		RawScanResponse  *HexBytes `json:"raw_scan_response"`
		IntervalMS       uint32    `json:"interval_ms"` // 0: 1000; at least 20

		// Frames, if there are any, replace the advertisement one after another,
		// over and over, every FrameEveryMS (0: 1000) milliseconds.
		Frames       []FrameSpec `json:"frames"`
		FrameEveryMS uint32      `json:"frame_every_ms"`
	}

	// FrameSpec is one of several payloads that a peripheral takes turns with.
	FrameSpec struct {
		RawAdvertisement HexBytes `json:"raw_advertisement"`
		RawScanResponse  HexBytes `json:"raw_scan_response"`
	}

	// GATTSpec is a GATT database. Handles that are 0 are given out in order.
	GATTSpec struct {
		Services []ServiceSpec `json:"services"`
	}

	// ServiceSpec is one GATT service.
	ServiceSpec struct {
		Handle          uint16        `json:"handle"`
		EndHandle       uint16        `json:"end_handle"`
		UUID            ble.UUID      `json:"uuid"`
		Includes        []IncludeSpec `json:"includes"` // not visible through a proxy
		Characteristics []CharSpec    `json:"characteristics"`
	}

	// IncludeSpec is one include declaration; it only takes a handle.
	IncludeSpec struct {
		Handle        uint16 `json:"handle"`
		ServiceHandle uint16 `json:"service_handle"`
	}

	// CharSpec is one GATT characteristic.
	CharSpec struct {
		Name        string     `json:"name"`
		Handle      uint16     `json:"handle"`
		ValueHandle uint16     `json:"value_handle"`
		UUID        ble.UUID   `json:"uuid"`
		Properties  []string   `json:"properties"`
		Value       HexBytes   `json:"value"`
		Descriptors []DescSpec `json:"descriptors"`
		// Security is "", encryption, authentication, authorization or
		// encryption_cccd.
		Security   string `json:"security"`
		DelayMS    uint32 `json:"delay_ms"` // how late reads and writes are answered
		ReadError  uint8  `json:"read_error"`
		WriteError uint8  `json:"write_error"`

		// NotifyEveryMS, if not 0, changes the value so often while connected and
		// notifies or indicates it: to the next of NotifyValues, or else by
		// counting its last byte up.
		NotifyEveryMS uint32     `json:"notify_every_ms"`
		NotifyValues  []HexBytes `json:"notify_values"`
	}

	// DescSpec is one GATT descriptor.
	DescSpec struct {
		Handle     uint16   `json:"handle"`
		UUID       ble.UUID `json:"uuid"`
		Value      HexBytes `json:"value"`
		Writable   bool     `json:"writable"`
		ReadError  uint8    `json:"read_error"`
		WriteError uint8    `json:"write_error"`
	}
)

// ParsePeripherals reads a peripheral file.
func ParsePeripherals(data []byte) ([]DeviceSpec, error) {
	var doc fileDoc
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("cannot parse peripherals: %w", err)
	}
	seenID, seenAddr := map[string]bool{}, map[ble.Address]bool{}
	for i := range doc.Devices {
		d := &doc.Devices[i]
		if d.ID == "" {
			d.ID = fmt.Sprintf("device%d", i)
		}
		if seenID[d.ID] || seenAddr[d.Address] {
			return nil, fmt.Errorf("cannot parse peripherals: id %q or address %s is there twice", d.ID, d.Address)
		}
		seenID[d.ID], seenAddr[d.Address] = true, true
		if _, err := newPeripheral(*d); err != nil {
			return nil, err
		}
	}
	return doc.Devices, nil
}

// LoadPeripherals reads a peripheral file from path, or a capture: see ReadRecorded.
func LoadPeripherals(path string) ([]DeviceSpec, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read peripherals: %w", err)
	}
	if btsnoop.Is(data) {
		return ReadRecorded(bytes.NewReader(data))
	}
	return ParsePeripherals(data)
}
