package bluezshim

import (
	"bytes"
	"slices"

	"bluez-esphome/internal/ble"
)

// rssiDelta is by how much RSSI must move to be signalled again (bluetoothd 5.87).
const rssiDelta = 8

// Bounds of what one device's adverts accumulate; real devices use a handful. bluetoothd has none, but
// one transmitter could then fill the memory.
const (
	maxRecords = 32
	maxUUIDs   = 64
)

// transportDiscovery is the one AD type of AdvertisingData whose change is signalled (bluetoothd 5.87).
const transportDiscovery = 0x26

// apply merges a report into the device (bluetoothd 5.87: RSSI by steps of 8 dB, records accumulated
// by key, or, with DuplicateData, replaced and repeated).
func (d *device) apply(r *ble.Report) {
	d.lastSeen = d.adapter.shim.clock.Now()
	d.connectable = r.Connectable
	if r.Discovered {
		d.seen = true
	}
	if rssi := int16(r.RSSI); rssi != 0 && (d.rssi == 0 || r.EveryRSSI || abs(rssi-d.rssi) >= rssiDelta) {
		d.rssi = rssi
		d.changed("RSSI")
	}
	for _, adv := range r.Payloads {
		d.merge(adv, r.Duplicates)
	}
	if r.Duplicates && len(r.Payloads) == 0 {
		d.merge(r.Last, true)
	}
}

func abs(v int16) int16 {
	if v < 0 {
		return -v
	}
	return v
}

func (d *device) merge(adv *ble.Advertisement, replace bool) {
	p := d.peer
	if adv.Name != "" && (adv.NameComplete || p.st.Name == "") {
		p.setName(adv.Name)
	}
	if adv.HasAppearance {
		p.setAppearance(adv.Appearance)
	}
	if adv.HasFlags || !d.hasFlags {
		if !d.hasFlags || d.flags != adv.Flags {
			d.hasFlags, d.flags = true, adv.Flags
			d.changed("AdvertisingFlags")
		}
	}
	if adv.HasTxPower && (!d.hasTx || d.tx != adv.TxPower) {
		d.hasTx, d.tx = true, adv.TxPower
		d.changed("TxPower")
	}
	p.advertised(adv)
	if mergeManufacturer(&d.manufacturer, adv.ManufacturerData, replace) {
		d.changed("ManufacturerData")
	}
	if mergeServiceData(&d.serviceData, adv.ServiceData, replace) {
		d.changed("ServiceData")
	}
	if mergeOther(&d.other, adv.Other, replace) {
		d.changed("AdvertisingData")
	}
}

// advertised adds service UUIDs and the UUIDs of service data, until the services are
// resolved: from then on the list is that of the database (bluetoothd 5.87).
func (p *peer) advertised(adv *ble.Advertisement) {
	if p.everResolved {
		return
	}
	before := len(p.uuids)
	for _, u := range adv.ServiceUUIDs {
		p.addUUID(u)
	}
	for _, sd := range adv.ServiceData {
		p.addUUID(sd.UUID)
	}
	if len(p.uuids) != before {
		p.changed("UUIDs")
	}
}

func (p *peer) addUUID(u ble.UUID) {
	if len(p.uuids) < maxUUIDs && !slices.Contains(p.uuids, u) {
		p.uuids = append(p.uuids, u)
	}
}

func mergeManufacturer(have *[]ble.ManufacturerData, got []ble.ManufacturerData, replace bool) (changed bool) {
	if len(got) == 0 {
		return false
	}
	if replace {
		*have = (*have)[:0]
	}
	for _, m := range got {
		i := slices.IndexFunc(*have, func(h ble.ManufacturerData) bool { return h.Company == m.Company })
		switch {
		case i >= 0 && bytes.Equal((*have)[i].Data, m.Data):
		case i >= 0:
			(*have)[i].Data = m.Data
			changed = true
		case len(*have) < maxRecords:
			*have = append(*have, m)
			changed = true
		}
	}
	return changed || replace
}

func mergeServiceData(have *[]serviceDatum, got []ble.ServiceData, replace bool) (changed bool) {
	if len(got) == 0 {
		return false
	}
	if replace {
		*have = (*have)[:0]
	}
	for _, s := range got {
		i := slices.IndexFunc(*have, func(h serviceDatum) bool { return h.uuid == s.UUID })
		switch {
		case i >= 0 && bytes.Equal((*have)[i].data, s.Data):
		case i >= 0:
			(*have)[i].data = s.Data
			changed = true
		case len(*have) < maxRecords:
			*have = append(*have, serviceDatum{s.UUID, s.UUID.String(), s.Data})
			changed = true
		}
	}
	return changed || replace
}

// mergeOther reports only what bluetoothd signals: with accumulation, a change of transport discovery data.
func mergeOther(have *[]ble.ADStructure, got []ble.ADStructure, replace bool) (signal bool) {
	if len(got) == 0 {
		return false
	}
	if replace {
		*have = (*have)[:0]
	}
	for _, s := range got {
		i := slices.IndexFunc(*have, func(h ble.ADStructure) bool { return h.Type == s.Type })
		if i >= 0 && bytes.Equal((*have)[i].Data, s.Data) {
			continue
		}
		signal = signal || s.Type == transportDiscovery
		if i >= 0 {
			(*have)[i].Data = s.Data
		} else if len(*have) < maxRecords {
			*have = append(*have, s)
		}
	}
	return signal || replace
}
