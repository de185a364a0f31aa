package apiserver

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
)

// Fields of message 10 (ESPHome native API) that are never another device's: they say who this one is, how it is
// reached and what of it this program serves.
var ownFields = []protowire.Number{
	1,  // uses_password
	2,  // name
	3,  // mac_address
	10, // webserver_port: there is no web page at this address
	11, // legacy_bluetooth_proxy_version
	13, // friendly_name
	15, // bluetooth_proxy_feature_flags
	18, // bluetooth_mac_address
	apiwire.ViaField,
	19, // api_encryption_supported
	26, // api_encryption_provisionable
	27, // api_outgoing_connection_supported
}

// textFields are texts of the other device. A client's whole session ends at one that is no UTF-8.
var textFields = []protowire.Number{
	4,  // esphome_version
	5,  // compilation_time
	6,  // model
	8,  // project_name
	9,  // project_version
	12, // manufacturer
	16, // suggested_area
}

// capabilityProxy is the field of message 150 that tells of the proxy.
const capabilityProxy = 1

// deviceInfo is the payload of message 10.
func (s *Session) deviceInfo() []byte {
	d := s.cfg.Device()
	own := &apipb.DeviceInfoResponse{
		UsesPassword: s.cfg.Password != "", Name: d.Name, FriendlyName: d.FriendlyName,
		MacAddress: d.MAC, BluetoothMacAddress: d.BluetoothMAC, BluetoothProxyFeatureFlags: uint32(d.Features),
		LegacyBluetoothProxyVersion: d.LegacyProxyVersion,
		ApiEncryptionSupported:      s.cfg.PSK != nil || s.cfg.Unprovisioned,
		ApiEncryptionProvisionable:  s.cfg.PSK == nil && s.cfg.Unprovisioned && !s.cfg.PlainUntilKey,
	}
	if said, ok := without(d.Said, ownFields, textFields); ok && d.Said != nil {
		return apiwire.AppendVia(appended(said, own), d.Via)
	}
	own.EsphomeVersion, own.CompilationTime = d.ESPHomeVersion, d.CompiledAt
	own.Model, own.Manufacturer = d.Model, d.Manufacturer
	own.ProjectName, own.ProjectVersion, own.SuggestedArea = d.ProjectName, d.ProjectVersion, d.SuggestedArea
	own.HasDeepSleep = d.DeepSleep
	return apiwire.AppendVia(appended(nil, own), d.Via)
}

// capabilities is the payload of message 150.
func (d Device) capabilities() []byte {
	said, _ := without(d.Capabilities, []protowire.Number{capabilityProxy}, nil)
	return appended(said, &apipb.DeviceCapabilitiesResponse{BluetoothProxy: &apipb.BluetoothProxyCapabilities{
		FeatureFlags: uint32(d.Features), MacAddress: d.BluetoothMAC,
	}})
}

// without copies a message but for some fields, with texts made readable. It reports false for what is no message.
func without(payload []byte, fields, texts []protowire.Number) ([]byte, bool) {
	out := make([]byte, 0, len(payload))
	for len(payload) > 0 {
		number, kind, n := protowire.ConsumeTag(payload)
		if n < 0 {
			return nil, false
		}
		m := protowire.ConsumeFieldValue(number, kind, payload[n:])
		if m < 0 {
			return nil, false
		}
		text, _ := protowire.ConsumeBytes(payload[n:])
		switch {
		case slices.Contains(fields, number):
		case kind == protowire.BytesType && slices.Contains(texts, number) && !utf8.Valid(text):
			out = protowire.AppendBytes(append(out, payload[:n]...), bytes.ToValidUTF8(text, []byte("?")))
		default:
			out = append(out, payload[:n+m]...)
		}
		payload = payload[n+m:]
	}
	return out, true
}

func appended(said []byte, m proto.Message) []byte {
	own, err := apiwire.MarshalFirmware(m)
	if err != nil { // of messages that are made here it is not to be expected
		return said
	}
	return append(said, own...)
}
