package stream

import (
	"bluez-esphome/internal/ble"
)

// undecoded writes what Theengs Gateway 1.8 takes from home/+/BTtoMQTT/undecoded and OpenMQTTGateway publishes there: id,
// mac_type, rssi, name, manufacturerdata (the company first, as on the air), servicedatauuid (of a UUID on the Bluetooth
// base its 16 bits, of any other the same place) and servicedata. One message has one service's data; Theengs Gateway
// itself makes several of an advertisement with several.
func (e *encoder) undecoded(r *record, scratch []byte, emit func(topic, payload []byte)) []byte {
	payload := r.payload()
	out := append(scratch[:0], `{"id":"`...)
	out = r.addr.Append(out, ":")
	out = append(out, `","mac_type":`...)
	out = appendInt(out, uint8(r.typ&1))
	if ble.KnownRSSI(r.rssi) {
		out = append(out, `,"rssi":`...)
		out = appendInt(out, r.rssi)
	}
	out = appendName(out, e.ask(r))
	for ad := range ble.Structures(payload) {
		if ad.Type == ble.ADManufacturerData && len(ad.Data) >= 2 {
			out = append(out, `,"manufacturerdata":`...)
			out = appendHex(out, ad.Data)
			break
		}
	}
	n, services := len(out), 0
	for ad := range ble.Structures(payload) {
		size, data := ble.UUIDsOf(ad.Type)
		if !data || len(ad.Data) < size {
			continue
		}
		u := ble.UUIDFromAir(ad.Data[:size])
		out = append(out[:n], `,"servicedatauuid":`...)
		out = appendHex(out, u[2:4])
		out = append(out, `,"servicedata":`...)
		out = append(appendHex(out, ad.Data[size:]), '}')
		emit(e.topicFixed, out)
		services++
	}
	if services == 0 {
		out = append(out, '}')
		emit(e.topicFixed, out)
	}
	return out
}
