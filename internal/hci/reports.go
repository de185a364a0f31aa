package hci

import "bluez-esphome/internal/ble"

// Event types of an LE Advertising Report (Bluetooth Core, Vol 4 Part E, 7.7.65.2). A proxy does not say whether an
// advertisement was connectable, and the kernel connects to what is reported as ADV_IND only.
const (
	reportConnectable  = 0x00
	reportScanResponse = 0x04
)

// maxLegacy is the longest data of one report of a legacy advertisement.
const maxLegacy = 31

// rssiUnknown is an RSSI that is not available.
const rssiUnknown = 127

// appendReports appends the packets of one advertisement: what was advertised, and apart from it, if the host scans
// actively, the scan response where the proxy put both together. cut is called with the length of b after each packet.
func appendReports(b []byte, r *report, active bool, cut func(int)) []byte {
	adv, rsp := split(r.data[:r.n])
	b = appendReport(b, r, reportConnectable, adv)
	cut(len(b))
	if active && len(rsp) > 0 {
		b = appendReport(b, r, reportScanResponse, rsp)
		cut(len(b))
	}
	return b
}

func appendReport(b []byte, r *report, kind byte, data []byte) []byte {
	rssi := r.rssi
	if rssi == 0 || rssi == -127 {
		rssi = rssiUnknown
	}
	b = append(b, typeEvent, eventMeta, byte(12+len(data)), subAdvertising, 1, kind, byte(wireType(r.typ)))
	b = appendAddress(b, r.addr)
	b = append(b, byte(len(data)))
	b = append(b, data...)
	return append(b, byte(rssi))
}

// split cuts what a proxy put together: up to 31 bytes of an advertisement, then up to 31 of its scan response. The
// advertisement ends with the last AD structure that fits; where the structures are broken, with 31 bytes. Hosts join
// both again, so a wrong guess does no harm.
func split(data []byte) (adv, rsp []byte) {
	if len(data) <= maxLegacy {
		return data, nil
	}
	end := 0
	for i := 0; i < len(data); {
		next := i + 1 + int(data[i])
		if next > len(data) || next > maxLegacy {
			break
		}
		i, end = next, next
	}
	if end == 0 || len(data)-end > maxLegacy {
		end = maxLegacy
	}
	return data[:end], data[end:min(len(data), end+maxLegacy)]
}

// wireType is an address type as in HCI. What the proxy resolved is reported by its identity address, of which a host
// knows no key.
func wireType(t ble.AddressType) ble.AddressType { return t & 1 }
