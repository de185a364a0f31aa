package proxysim

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/apiwire"
)

// Messages of entities (ESPHome native API).
const (
	listBinarySensorResponse apiwire.ID = 12
	listLightResponse        apiwire.ID = 15
	listSensorResponse       apiwire.ID = 16
	listSwitchResponse       apiwire.ID = 17
	subscribeStatesRequest   apiwire.ID = 20
	binarySensorState        apiwire.ID = 21
	lightState               apiwire.ID = 24
	sensorState              apiwire.ID = 25
	switchState              apiwire.ID = 26
	lightCommandRequest      apiwire.ID = 32
	switchCommandRequest     apiwire.ID = 33
	listButtonResponse       apiwire.ID = 61
	buttonCommandRequest     apiwire.ID = 62
)

// Values of enumerations of the API.
const (
	colorModeBrightness   = 3
	stateClassMeasurement = 1
	logWarn               = 2
	logConfig             = 4
	logDebug              = 5
)

// listed is the message that tells a client of e.
func (e *entity) listed() (apiwire.ID, []byte) {
	b := appendText(nil, 1, e.ID)
	b = appendFixed32(b, 2, e.key)
	b = appendText(b, 3, e.Name)
	switch e.Kind {
	case EntityBinarySensor:
		return listBinarySensorResponse, appendText(b, 5, e.DeviceClass)
	case EntityLight:
		b = protowire.AppendTag(b, 12, protowire.VarintType)
		return listLightResponse, protowire.AppendVarint(b, colorModeBrightness)
	case EntitySwitch:
		return listSwitchResponse, appendText(b, 9, e.DeviceClass)
	case EntityButton:
		return listButtonResponse, appendText(b, 8, e.DeviceClass)
	case EntitySensor:
	}
	b = appendText(b, 6, e.Unit)
	b = appendVarint(b, 7, 1) // decimals
	b = appendText(b, 9, e.DeviceClass)
	return listSensorResponse, appendVarint(b, 10, stateClassMeasurement)
}

// told is the message with the state of e; a button has none.
func (e *entity) told() (apiwire.ID, []byte) {
	b := appendFixed32(nil, 1, e.key)
	on := uint64(0)
	if e.state.On {
		on = 1
	}
	switch e.Kind {
	case EntityBinarySensor:
		return binarySensorState, appendVarint(b, 2, on)
	case EntityLight:
		b = appendFloat(appendVarint(b, 2, on), 3, e.state.Brightness)
		return lightState, appendVarint(b, 11, colorModeBrightness)
	case EntitySensor:
		return sensorState, appendFloat(b, 2, e.state.Value)
	case EntitySwitch:
		return switchState, appendVarint(b, 2, on)
	case EntityButton:
	}
	return 0, nil
}

// say logs a line as the device does: here, and to the clients that subscribed to its log.
func (p *Proxy) say(level uint64, text string, args ...any) {
	if level <= logWarn {
		p.log.Warn(text, args...)
	} else {
		p.log.Debug(text, args...)
	}
	for s, in := range p.sessions {
		if in.logLevel >= level {
			p.sendLog(s, level, text)
		}
	}
}

func (p *Proxy) sendLog(s *apiserver.Session, level uint64, text string) {
	b := appendVarint(nil, 1, level)
	s.Send(apiwire.SubscribeLogsResponse, appendText(b, 3, "["+string("NEWICDV"[min(level, 6)])+"][bluetooth_proxy]: "+text))
}

// What proto3 leaves out because it is zero is left out here, too.

func appendText(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendFixed32(b []byte, field protowire.Number, v uint32) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendFixed32(protowire.AppendTag(b, field, protowire.Fixed32Type), v)
}

func appendFloat(b []byte, field protowire.Number, v float64) []byte {
	return appendFixed32(b, field, math.Float32bits(float32(v)))
}

// parseFields reads the numbers of a message by field; other fields are skipped, and what follows damage.
func parseFields(b []byte) map[int]uint64 {
	out := map[int]uint64{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return out
		}
		b = b[n:]
		var v uint64
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var f uint32
			f, n = protowire.ConsumeFixed32(b)
			v = uint64(f)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return out
		}
		b = b[n:]
		out[int(num)] = v
	}
	return out
}
