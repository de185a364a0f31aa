package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"

	"github.com/godbus/dbus/v5"
)

// Interfaces and members of BlueZ and of the bus that the clients use.
const (
	bluez         = "org.bluez"
	adapterPath   = dbus.ObjectPath("/org/bluez/hci0")
	adapterIface  = "org.bluez.Adapter1"
	deviceIface   = "org.bluez.Device1"
	charIface     = "org.bluez.GattCharacteristic1"
	properties    = "org.freedesktop.DBus.Properties"
	objectManager = "org.freedesktop.DBus.ObjectManager"
)

var (
	soakService  = ble.UUID32(0xb1e50000)
	numbersUUID  = ble.UUID32(0xb1e50001)
	registerUUID = ble.UUID32(0xb1e50002)
)

// Value handles of the peripherals' characteristics, and where they are on the bus.
const (
	numbersHandle = 3
	numbersPath   = "/service0001/char0002"
	registerPath  = "/service0001/char0005"
)

func proxyName(i int) string { return fmt.Sprintf("soak-%02d", i) }

// keyOf is a proxy's key; every other one is without.
func keyOf(i int) *[32]byte {
	if i%2 == 0 {
		return nil
	}
	return new(sha256.Sum256([]byte(proxyName(i))))
}

func keyText(k *[32]byte) string { return base64.StdEncoding.EncodeToString(k[:]) }

func linkID(i int) string { return fmt.Sprintf("link-%02d", i) }

func linkAddress(i int) ble.Address { return 0xc8_5a_00_00_00_00 + ble.Address(i) }

func linkPath(i int) dbus.ObjectPath {
	return dbus.ObjectPath(string(adapterPath) + "/" + linkAddress(i).PathElement())
}

func beaconID(i int) string { return fmt.Sprintf("beacon-%04d", i) }

// beaconPayload is the n-th advertisement of a beacon: flags and manufacturer data.
func beaconPayload(i int, n uint32) proxysim.HexBytes {
	b := []byte{2, 1, 6, 13, 0xff, 0xff, 0xff}
	b = binary.LittleEndian.AppendUint32(b, uint32(i))
	b = binary.LittleEndian.AppendUint32(b, n)
	return append(b, "so"...)
}
