package apiserver

import (
	"fmt"
	"strings"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// rawAdvertSize is about how large an advertisement becomes in message 93, at most.
const rawAdvertSize = 80

// RawAdverts sends one message 93, which may be lost. The adverts are copied.
func (s *Session) RawAdverts(batch []ble.RawAdvert) {
	if len(batch) > 0 {
		s.RawAdvertsPayload(EncodeRawAdverts(batch))
	}
}

// EncodeRawAdverts gives the payload of a message 93, so that one encoding can
// serve many sessions.
func EncodeRawAdverts(batch []ble.RawAdvert) []byte {
	payload := make([]byte, 0, len(batch)*rawAdvertSize)
	for _, a := range batch {
		payload = apiwire.AppendRawAdvert(payload, apiwire.RawAdvert{
			Address: uint64(a.Address), RSSI: int32(a.RSSI), AddressType: uint32(a.Type), Data: a.Data,
		})
	}
	return payload
}

// RawAdvertsPayload sends one message 93, which may be lost. The payload is not copied
// and must not change.
func (s *Session) RawAdvertsPayload(payload []byte) {
	s.enqueue(message{id: apiwire.BluetoothLERawAdvertisementsResponse, payload: payload, class: advert})
}

// DecodedAdvert sends one message 67, which may be lost, as firmware before
// 2025.8 does for a client that did not ask for raw advertisements.
func (s *Session) DecodedAdvert(a ble.RawAdvert) {
	payload, err := EncodeDecodedAdvert(a)
	if err != nil {
		s.cancel(err)
		return
	}
	s.DecodedAdvertPayload(payload)
}

// DecodedAdvertPayload sends one message 67, which may be lost. The payload is not copied and must not change.
func (s *Session) DecodedAdvertPayload(payload []byte) {
	s.enqueue(message{id: apiwire.BluetoothLEAdvertisementResponse, payload: payload, class: advert})
}

// EncodeDecodedAdvert gives the payload of a message 67, so that one encoding can serve many sessions.
func EncodeDecodedAdvert(a ble.RawAdvert) ([]byte, error) {
	adv := ble.ParseAdvertisement(a.Data)
	m := &apipb.BluetoothLEAdvertisementResponse{
		Address: uint64(a.Address), Name: []byte(adv.Name), Rssi: int32(a.RSSI), AddressType: uint32(a.Type),
	}
	for _, u := range adv.ServiceUUIDs {
		m.ServiceUuids = append(m.ServiceUuids, advertUUID(u))
	}
	for _, d := range adv.ServiceData {
		m.ServiceData = append(m.ServiceData, &apipb.BluetoothServiceData{Uuid: advertUUID(d.UUID), Data: d.Data})
	}
	for _, d := range adv.ManufacturerData {
		m.ManufacturerData = append(m.ManufacturerData,
			&apipb.BluetoothServiceData{Uuid: fmt.Sprintf("0x%04X", d.Company), Data: d.Data})
	}
	return apiwire.MarshalFirmware(m)
}

// advertUUID gives the upper-case form that decoded advertisements have.
func advertUUID(u ble.UUID) string {
	if v, ok := u.Short(); ok && v <= 0xffff {
		return fmt.Sprintf("0x%04X", v)
	} else if ok {
		return fmt.Sprintf("0x%08X", v)
	}
	return strings.ToUpper(u.String())
}
