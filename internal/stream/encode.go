package stream

import (
	"encoding/binary"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
)

// encoder makes messages of records. It is for one goroutine.
type encoder struct {
	format  config.StreamFormat
	hearing func(a ble.Address, since time.Time, out []Hearing) ([]Hearing, string)
	label   func(id string) string

	topicDevice []byte // of our own format: the device follows
	topicFixed  []byte // of the other one
	site        []byte // "site":"…"
	labels      map[string][]byte
	labelsMade  time.Time
	heard       []Hearing
}

func newEncoder(m config.MQTT, cfg Config) *encoder {
	return &encoder{
		format: m.Format, hearing: cfg.Hearing, label: cfg.Label,
		topicDevice: []byte(m.Topic + "/device/"), topicFixed: []byte(m.Topic + "/BTtoMQTT/undecoded"),
		site: appendString([]byte(`"site":`), m.Site), labels: map[string][]byte{},
	}
}

const (
	// hearingAge is for how long what a proxy heard of a device is told of.
	hearingAge = 60 * time.Second
	// labelsAge is for how long a proxy may be called by a name that it had.
	labelsAge = 5 * time.Second
)

// begin is called before the records of one wake-up.
func (e *encoder) begin(now time.Time) {
	if now.Sub(e.labelsMade) > labelsAge {
		clear(e.labels)
		e.labelsMade = now
	}
}

// each calls emit with topic and payload of each message that r makes; both are valid during the call only. scratch is a
// buffer, which is returned.
func (e *encoder) each(r *record, scratch []byte, emit func(topic, payload []byte)) []byte {
	if e.format == config.StreamUndecoded {
		return e.undecoded(r, scratch, emit)
	}
	out := append(scratch[:0], e.topicDevice...)
	out = r.addr.Append(out, "")
	n := len(out)
	out = e.own(out, r)
	emit(out[:n], out[n:])
	return out
}

// own writes our own format.
func (e *encoder) own(out []byte, r *record) []byte {
	out = append(out, `{"time":`...)
	out = appendInt(out, r.at)
	out = append(out, ',')
	out = append(out, e.site...)
	out = append(out, `,"address":"`...)
	out = r.addr.Append(out, ":")
	if r.typ&1 == 1 {
		out = append(out, `","address_type":"random"`...)
	} else {
		out = append(out, `","address_type":"public"`...)
	}
	if ble.KnownRSSI(r.rssi) {
		out = append(out, `,"rssi":`...)
		out = appendInt(out, r.rssi)
	}
	name := e.ask(r)
	out = e.proxies(out)
	out = append(out, `,"raw":`...)
	out = appendHex(out, r.payload())
	out = appendName(out, name)
	out = appendParsed(out, r.payload())
	return append(out, '}')
}

// ask finds out who hears the device, and its name.
func (e *encoder) ask(r *record) (name string) {
	e.heard, name = e.hearing(r.addr, time.UnixMilli(r.at).Add(-hearingAge), e.heard[:0])
	return ble.CleanName(name)
}

func appendName(out []byte, name string) []byte {
	if name == "" {
		return out
	}
	out = append(out, `,"name":`...)
	return appendString(out, name)
}

// proxies writes which proxies hear the device, with what RSSI.
func (e *encoder) proxies(out []byte) []byte {
	out = append(out, `,"proxies":{`...)
	for i := range e.heard {
		h := &e.heard[i]
		name, known := e.labels[h.Proxy]
		if !known {
			name = append(appendString(nil, e.label(h.Proxy)), ':')
			e.labels[h.Proxy] = name
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, name...)
		if ble.KnownRSSI(h.RSSI) {
			out = appendInt(out, h.RSSI)
		} else {
			out = append(out, "null"...)
		}
	}
	return append(out, '}')
}

// appendParsed writes what a payload says. A structure that is there twice is so in the message's lists; of a value of
// which there can be one only the last counts, as in BlueZ's Device1.
func appendParsed(out, payload []byte) []byte {
	var services, serviceData, manufacturer int
	var flags, power, appearance []byte
	for ad := range ble.Structures(payload) {
		size, data := ble.UUIDsOf(ad.Type)
		switch {
		case data && len(ad.Data) >= size:
			serviceData++
		case !data && size > 0 && len(ad.Data) >= size:
			services++
		case ad.Type == ble.ADManufacturerData && len(ad.Data) >= 2:
			manufacturer++
		case ad.Type == ble.ADFlags:
			flags = ad.Data
		case ad.Type == ble.ADTxPower:
			if _, known := ble.TxPower(ad.Data); known {
				power = ad.Data
			}
		case ad.Type == ble.ADAppearance && len(ad.Data) >= 2:
			appearance = ad.Data
		}
	}
	if flags != nil {
		out = append(out, `,"flags":`...)
		out = appendInt(out, flags[0])
	}
	if power != nil {
		out = append(out, `,"tx_power":`...)
		out = appendInt(out, int8(power[0]))
	}
	if appearance != nil {
		out = append(out, `,"appearance":`...)
		out = appendInt(out, binary.LittleEndian.Uint16(appearance))
	}
	if services > 0 {
		out = appendServices(out, payload)
	}
	if serviceData > 0 {
		out = appendServiceData(out, payload)
	}
	if manufacturer > 0 {
		out = appendManufacturer(out, payload)
	}
	return out
}

// appendServices writes the list of UUIDs.
func appendServices(out, payload []byte) []byte {
	out = append(out, `,"services":[`...)
	n := 0
	for ad := range ble.Structures(payload) {
		size, data := ble.UUIDsOf(ad.Type)
		if size == 0 || data {
			continue
		}
		for rest := ad.Data; len(rest) >= size; rest = rest[size:] {
			out = comma(out, n)
			out = appendUUID(out, ble.UUIDFromAir(rest[:size]))
			n++
		}
	}
	return append(out, ']')
}

// appendServiceData writes a list of {"uuid":…,"data":…}.
func appendServiceData(out, payload []byte) []byte {
	out = append(out, `,"service_data":[`...)
	n := 0
	for ad := range ble.Structures(payload) {
		size, data := ble.UUIDsOf(ad.Type)
		if !data || len(ad.Data) < size {
			continue
		}
		out = append(comma(out, n), `{"uuid":`...)
		out = appendUUID(out, ble.UUIDFromAir(ad.Data[:size]))
		out = append(out, `,"data":`...)
		out = append(appendHex(out, ad.Data[size:]), '}')
		n++
	}
	return append(out, ']')
}

// appendManufacturer writes a list of {"company":…,"data":…}.
func appendManufacturer(out, payload []byte) []byte {
	out = append(out, `,"manufacturer_data":[`...)
	n := 0
	for ad := range ble.Structures(payload) {
		if ad.Type != ble.ADManufacturerData || len(ad.Data) < 2 {
			continue
		}
		out = append(comma(out, n), `{"company":`...)
		out = appendInt(out, binary.LittleEndian.Uint16(ad.Data))
		out = append(out, `,"data":`...)
		out = append(appendHex(out, ad.Data[2:]), '}')
		n++
	}
	return append(out, ']')
}

func comma(out []byte, n int) []byte {
	if n > 0 {
		return append(out, ',')
	}
	return out
}
