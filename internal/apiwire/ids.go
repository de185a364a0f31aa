package apiwire

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire/apipb"
)

// ID is the number that a frame carries for its message (ESPHome native API).
type ID uint16

// The messages that this program knows, under the API's own names.
const (
	HelloRequest                                ID = 1
	HelloResponse                               ID = 2
	AuthenticationRequest                       ID = 3
	AuthenticationResponse                      ID = 4
	DisconnectRequest                           ID = 5
	DisconnectResponse                          ID = 6
	PingRequest                                 ID = 7
	PingResponse                                ID = 8
	DeviceInfoRequest                           ID = 9
	DeviceInfoResponse                          ID = 10
	ListEntitiesRequest                         ID = 11
	ListEntitiesDoneResponse                    ID = 19
	SubscribeLogsRequest                        ID = 28
	SubscribeLogsResponse                       ID = 29
	GetTimeRequest                              ID = 36
	GetTimeResponse                             ID = 37
	SubscribeBluetoothLEAdvertisementsRequest   ID = 66
	BluetoothLEAdvertisementResponse            ID = 67
	BluetoothDeviceRequest                      ID = 68
	BluetoothDeviceConnectionResponse           ID = 69
	BluetoothGATTGetServicesRequest             ID = 70
	BluetoothGATTGetServicesResponse            ID = 71
	BluetoothGATTGetServicesDoneResponse        ID = 72
	BluetoothGATTReadRequest                    ID = 73
	BluetoothGATTReadResponse                   ID = 74
	BluetoothGATTWriteRequest                   ID = 75
	BluetoothGATTReadDescriptorRequest          ID = 76
	BluetoothGATTWriteDescriptorRequest         ID = 77
	BluetoothGATTNotifyRequest                  ID = 78
	BluetoothGATTNotifyDataResponse             ID = 79
	SubscribeBluetoothConnectionsFreeRequest    ID = 80
	BluetoothConnectionsFreeResponse            ID = 81
	BluetoothGATTErrorResponse                  ID = 82
	BluetoothGATTWriteResponse                  ID = 83
	BluetoothGATTNotifyResponse                 ID = 84
	BluetoothDevicePairingResponse              ID = 85
	BluetoothDeviceUnpairingResponse            ID = 86
	UnsubscribeBluetoothLEAdvertisementsRequest ID = 87
	BluetoothDeviceClearCacheResponse           ID = 88
	BluetoothLERawAdvertisementsResponse        ID = 93
	NoiseEncryptionSetKeyRequest                ID = 124
	NoiseEncryptionSetKeyResponse               ID = 125
	BluetoothScannerStateResponse               ID = 126
	BluetoothScannerSetModeRequest              ID = 127
	BluetoothSetConnectionParamsRequest         ID = 145
	BluetoothSetConnectionParamsResponse        ID = 146
	DeviceCapabilitiesRequest                   ID = 149
	DeviceCapabilitiesResponse                  ID = 150
)

// String gives the API's name of the message, or "message N".
func (id ID) String() string {
	if m := New(id); m != nil {
		return string(m.ProtoReflect().Descriptor().Name())
	}
	return fmt.Sprintf("message %d", uint16(id))
}

// New returns an empty message for id, or nil if the id is unknown.
func New(id ID) proto.Message {
	switch id {
	case HelloRequest:
		return new(apipb.HelloRequest)
	case HelloResponse:
		return new(apipb.HelloResponse)
	case AuthenticationRequest:
		return new(apipb.AuthenticationRequest)
	case AuthenticationResponse:
		return new(apipb.AuthenticationResponse)
	case DisconnectRequest:
		return new(apipb.DisconnectRequest)
	case DisconnectResponse:
		return new(apipb.DisconnectResponse)
	case PingRequest:
		return new(apipb.PingRequest)
	case PingResponse:
		return new(apipb.PingResponse)
	case DeviceInfoRequest:
		return new(apipb.DeviceInfoRequest)
	case DeviceInfoResponse:
		return new(apipb.DeviceInfoResponse)
	case ListEntitiesRequest:
		return new(apipb.ListEntitiesRequest)
	case ListEntitiesDoneResponse:
		return new(apipb.ListEntitiesDoneResponse)
	case SubscribeLogsRequest:
		return new(apipb.SubscribeLogsRequest)
	case SubscribeLogsResponse:
		return new(apipb.SubscribeLogsResponse)
	case GetTimeRequest:
		return new(apipb.GetTimeRequest)
	case GetTimeResponse:
		return new(apipb.GetTimeResponse)
	case SubscribeBluetoothLEAdvertisementsRequest:
		return new(apipb.SubscribeBluetoothLEAdvertisementsRequest)
	case BluetoothLEAdvertisementResponse:
		return new(apipb.BluetoothLEAdvertisementResponse)
	case BluetoothDeviceRequest:
		return new(apipb.BluetoothDeviceRequest)
	case BluetoothDeviceConnectionResponse:
		return new(apipb.BluetoothDeviceConnectionResponse)
	case BluetoothGATTGetServicesRequest:
		return new(apipb.BluetoothGATTGetServicesRequest)
	case BluetoothGATTGetServicesResponse:
		return new(apipb.BluetoothGATTGetServicesResponse)
	case BluetoothGATTGetServicesDoneResponse:
		return new(apipb.BluetoothGATTGetServicesDoneResponse)
	case BluetoothGATTReadRequest:
		return new(apipb.BluetoothGATTReadRequest)
	case BluetoothGATTReadResponse:
		return new(apipb.BluetoothGATTReadResponse)
	case BluetoothGATTWriteRequest:
		return new(apipb.BluetoothGATTWriteRequest)
	case BluetoothGATTReadDescriptorRequest:
		return new(apipb.BluetoothGATTReadDescriptorRequest)
	case BluetoothGATTWriteDescriptorRequest:
		return new(apipb.BluetoothGATTWriteDescriptorRequest)
	case BluetoothGATTNotifyRequest:
		return new(apipb.BluetoothGATTNotifyRequest)
	case BluetoothGATTNotifyDataResponse:
		return new(apipb.BluetoothGATTNotifyDataResponse)
	case SubscribeBluetoothConnectionsFreeRequest:
		return new(apipb.SubscribeBluetoothConnectionsFreeRequest)
	case BluetoothConnectionsFreeResponse:
		return new(apipb.BluetoothConnectionsFreeResponse)
	case BluetoothGATTErrorResponse:
		return new(apipb.BluetoothGATTErrorResponse)
	case BluetoothGATTWriteResponse:
		return new(apipb.BluetoothGATTWriteResponse)
	case BluetoothGATTNotifyResponse:
		return new(apipb.BluetoothGATTNotifyResponse)
	case BluetoothDevicePairingResponse:
		return new(apipb.BluetoothDevicePairingResponse)
	case BluetoothDeviceUnpairingResponse:
		return new(apipb.BluetoothDeviceUnpairingResponse)
	case UnsubscribeBluetoothLEAdvertisementsRequest:
		return new(apipb.UnsubscribeBluetoothLEAdvertisementsRequest)
	case BluetoothDeviceClearCacheResponse:
		return new(apipb.BluetoothDeviceClearCacheResponse)
	case BluetoothLERawAdvertisementsResponse:
		return new(apipb.BluetoothLERawAdvertisementsResponse)
	case NoiseEncryptionSetKeyRequest:
		return new(apipb.NoiseEncryptionSetKeyRequest)
	case NoiseEncryptionSetKeyResponse:
		return new(apipb.NoiseEncryptionSetKeyResponse)
	case BluetoothScannerStateResponse:
		return new(apipb.BluetoothScannerStateResponse)
	case BluetoothScannerSetModeRequest:
		return new(apipb.BluetoothScannerSetModeRequest)
	case BluetoothSetConnectionParamsRequest:
		return new(apipb.BluetoothSetConnectionParamsRequest)
	case BluetoothSetConnectionParamsResponse:
		return new(apipb.BluetoothSetConnectionParamsResponse)
	case DeviceCapabilitiesRequest:
		return new(apipb.DeviceCapabilitiesRequest)
	case DeviceCapabilitiesResponse:
		return new(apipb.DeviceCapabilitiesResponse)
	}
	return nil
}

// IDOf returns the number of m, or 0 if frames don't carry such a message.
func IDOf(m proto.Message) ID {
	switch m.(type) {
	case *apipb.HelloRequest:
		return HelloRequest
	case *apipb.HelloResponse:
		return HelloResponse
	case *apipb.AuthenticationRequest:
		return AuthenticationRequest
	case *apipb.AuthenticationResponse:
		return AuthenticationResponse
	case *apipb.DisconnectRequest:
		return DisconnectRequest
	case *apipb.DisconnectResponse:
		return DisconnectResponse
	case *apipb.PingRequest:
		return PingRequest
	case *apipb.PingResponse:
		return PingResponse
	case *apipb.DeviceInfoRequest:
		return DeviceInfoRequest
	case *apipb.DeviceInfoResponse:
		return DeviceInfoResponse
	case *apipb.ListEntitiesRequest:
		return ListEntitiesRequest
	case *apipb.ListEntitiesDoneResponse:
		return ListEntitiesDoneResponse
	case *apipb.SubscribeLogsRequest:
		return SubscribeLogsRequest
	case *apipb.SubscribeLogsResponse:
		return SubscribeLogsResponse
	case *apipb.GetTimeRequest:
		return GetTimeRequest
	case *apipb.GetTimeResponse:
		return GetTimeResponse
	case *apipb.SubscribeBluetoothLEAdvertisementsRequest:
		return SubscribeBluetoothLEAdvertisementsRequest
	case *apipb.BluetoothLEAdvertisementResponse:
		return BluetoothLEAdvertisementResponse
	case *apipb.BluetoothDeviceRequest:
		return BluetoothDeviceRequest
	case *apipb.BluetoothDeviceConnectionResponse:
		return BluetoothDeviceConnectionResponse
	case *apipb.BluetoothGATTGetServicesRequest:
		return BluetoothGATTGetServicesRequest
	case *apipb.BluetoothGATTGetServicesResponse:
		return BluetoothGATTGetServicesResponse
	case *apipb.BluetoothGATTGetServicesDoneResponse:
		return BluetoothGATTGetServicesDoneResponse
	case *apipb.BluetoothGATTReadRequest:
		return BluetoothGATTReadRequest
	case *apipb.BluetoothGATTReadResponse:
		return BluetoothGATTReadResponse
	case *apipb.BluetoothGATTWriteRequest:
		return BluetoothGATTWriteRequest
	case *apipb.BluetoothGATTReadDescriptorRequest:
		return BluetoothGATTReadDescriptorRequest
	case *apipb.BluetoothGATTWriteDescriptorRequest:
		return BluetoothGATTWriteDescriptorRequest
	case *apipb.BluetoothGATTNotifyRequest:
		return BluetoothGATTNotifyRequest
	case *apipb.BluetoothGATTNotifyDataResponse:
		return BluetoothGATTNotifyDataResponse
	case *apipb.SubscribeBluetoothConnectionsFreeRequest:
		return SubscribeBluetoothConnectionsFreeRequest
	case *apipb.BluetoothConnectionsFreeResponse:
		return BluetoothConnectionsFreeResponse
	case *apipb.BluetoothGATTErrorResponse:
		return BluetoothGATTErrorResponse
	case *apipb.BluetoothGATTWriteResponse:
		return BluetoothGATTWriteResponse
	case *apipb.BluetoothGATTNotifyResponse:
		return BluetoothGATTNotifyResponse
	case *apipb.BluetoothDevicePairingResponse:
		return BluetoothDevicePairingResponse
	case *apipb.BluetoothDeviceUnpairingResponse:
		return BluetoothDeviceUnpairingResponse
	case *apipb.UnsubscribeBluetoothLEAdvertisementsRequest:
		return UnsubscribeBluetoothLEAdvertisementsRequest
	case *apipb.BluetoothDeviceClearCacheResponse:
		return BluetoothDeviceClearCacheResponse
	case *apipb.BluetoothLERawAdvertisementsResponse:
		return BluetoothLERawAdvertisementsResponse
	case *apipb.NoiseEncryptionSetKeyRequest:
		return NoiseEncryptionSetKeyRequest
	case *apipb.NoiseEncryptionSetKeyResponse:
		return NoiseEncryptionSetKeyResponse
	case *apipb.BluetoothScannerStateResponse:
		return BluetoothScannerStateResponse
	case *apipb.BluetoothScannerSetModeRequest:
		return BluetoothScannerSetModeRequest
	case *apipb.BluetoothSetConnectionParamsRequest:
		return BluetoothSetConnectionParamsRequest
	case *apipb.BluetoothSetConnectionParamsResponse:
		return BluetoothSetConnectionParamsResponse
	case *apipb.DeviceCapabilitiesRequest:
		return DeviceCapabilitiesRequest
	case *apipb.DeviceCapabilitiesResponse:
		return DeviceCapabilitiesResponse
	}
	return 0
}
