package apiconn

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"bluez-esphome/internal/ble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The method set that package gatt consumes; neither package imports the other.
var _ interface {
	Name() string
	Online() bool
	Features() ble.Features
	Version() string
	Slots() ble.Slots
	Connect(ctx context.Context, a ble.Address, t ble.AddressType, cached bool) (mtu int, err error)
	Disconnect(ctx context.Context, a ble.Address) error
	Services(ctx context.Context, a ble.Address) ([]ble.Service, error)
	Read(ctx context.Context, a ble.Address, handle uint16) ([]byte, error)
	Write(ctx context.Context, a ble.Address, handle uint16, value []byte, response bool) error
	ReadDescriptor(ctx context.Context, a ble.Address, handle uint16) ([]byte, error)
	WriteDescriptor(ctx context.Context, a ble.Address, handle uint16, value []byte) error
	Notify(ctx context.Context, a ble.Address, handle uint16, enable bool) error
	Pair(ctx context.Context, a ble.Address) error
	Unpair(ctx context.Context, a ble.Address) error
	ClearCache(ctx context.Context, a ble.Address) error
	SetConnectionParams(ctx context.Context, a ble.Address, p ble.ConnectionParams) error
} = (*Proxy)(nil)

var _ interface {
	error
	ConnectCode() int32
} = (*ConnectFailedError)(nil)
