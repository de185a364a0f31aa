// Package beacon puts what devices advertise into words: the names of companies and services, and the payloads of
// sensors and beacons whose formats are public. What it does not know it gives in hexadecimal. It is plain computation
// on input from the air, any of which may be nonsense: no I/O, no goroutines.
package beacon

import (
	"encoding/hex"
	"fmt"
	"strings"

	"bluez-esphome/internal/ble"
)

// A Field is one thing that an advertisement says. Neither text is free of control characters.
type Field struct{ Name, Value string }

// Says puts an advertisement into fields.
func Says(a *ble.Advertisement) []Field {
	var out []Field
	add := func(name, value string) { out = append(out, Field{name, value}) }
	if a.Name != "" {
		kind := "name in the air"
		if !a.NameComplete {
			kind = "shortened name"
		}
		add(kind, a.Name)
	}
	if len(a.ServiceUUIDs) > 0 {
		var list []string
		for _, u := range a.ServiceUUIDs {
			list = append(list, service(u))
		}
		add("services", strings.Join(list, ", "))
	}
	for _, m := range a.ManufacturerData {
		add("manufacturer", company(m.Company)+": "+manufacturer(m.Company, m.Data))
	}
	for _, s := range a.ServiceData {
		add("service data", service(s.UUID)+": "+serviceData(s.UUID, s.Data))
	}
	if a.HasTxPower {
		add("TX power", fmt.Sprintf("%d dBm", a.TxPower))
	}
	if a.HasAppearance {
		add("appearance", fmt.Sprintf("0x%04x", a.Appearance))
	}
	if len(a.Raw) > 0 {
		add("raw", hex.EncodeToString(a.Raw))
	}
	return out
}

// manufacturer decodes what follows a company's number.
func manufacturer(id uint16, data []byte) string {
	switch id {
	case appleID:
		return apple(data)
	case ruuviID:
		return ruuvi(data)
	}
	return hex.EncodeToString(data)
}

// serviceData decodes what follows a service's UUID.
func serviceData(u ble.UUID, data []byte) string {
	switch u {
	case bthomeUUID:
		return bthome(data)
	case eddystoneUUID:
		return eddystone(data)
	}
	return hex.EncodeToString(data)
}

// undecoded is what a payload of a known kind is shown as when it is not of its form.
func undecoded(kind string, data []byte) string {
	return strings.TrimSpace(kind + " " + hex.EncodeToString(data))
}
