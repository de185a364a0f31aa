// Package peer has small servers with which the daemon is compared. Each does one thing on D-Bus, in the usual way to
// write it with godbus.
package peer

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"

	"github.com/godbus/dbus/v5"
)

// devicePath is the object path of a device of the servers.
func devicePath(n int) dbus.ObjectPath {
	return dbus.ObjectPath(fmt.Sprintf("/org/bluez/hci0/dev_C0_00_00_00_%02X_%02X", n>>8&0xff, n&0xff))
}

// Emit emits, for each number N that comes in, N PropertiesChanged of RSSI and ManufacturerData with Conn.Emit, for 500
// devices in turn, and then says DONE. It ends with in.
func Emit(_ context.Context, bus string, in io.Reader, out io.Writer) error {
	conn, err := dbus.Connect(bus)
	if err != nil {
		return err
	}
	defer conn.Close()
	const devices = 500
	paths := make([]dbus.ObjectPath, devices)
	for i := range paths {
		paths[i] = devicePath(i)
	}
	if _, err := fmt.Fprintln(out, "READY"); err != nil {
		return err
	}
	data := make([]byte, 24)
	lines := bufio.NewScanner(in)
	for sent := uint32(0); lines.Scan(); {
		count, err := strconv.Atoi(lines.Text())
		if err != nil {
			return err
		}
		for range count {
			sent++
			binary.LittleEndian.PutUint32(data, sent)
			err := conn.Emit(paths[sent%devices], "org.freedesktop.DBus.Properties.PropertiesChanged", "org.bluez.Device1",
				map[string]dbus.Variant{
					"RSSI":             dbus.MakeVariant(int16(-50 - 20*int(sent%2))),
					"ManufacturerData": dbus.MakeVariant(map[uint16]dbus.Variant{0x0499: dbus.MakeVariant(data)}),
				}, []string{})
			if err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(out, "DONE"); err != nil {
			return err
		}
	}
	return lines.Err()
}
