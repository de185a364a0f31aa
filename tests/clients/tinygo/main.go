// Command tinygo runs the steps of the client matrix on tinygo.org/x/bluetooth. It is a
// module of its own: the library's requirements cannot all be resolved by go mod tidy, and need not be.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"tinygo.org/x/bluetooth"
)

const (
	pulse        = "C8:2B:96:10:00:01"
	serviceUUID  = "b1e50001-6d5e-4c1b-9e3a-1f0c2d3e4f50"
	greetingUUID = "b1e50002-6d5e-4c1b-9e3a-1f0c2d3e4f50"
	counterUUID  = "b1e50004-6d5e-4c1b-9e3a-1f0c2d3e4f50"
	limit        = 3 * time.Minute
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func step(name string) { fmt.Println("STEP", name) }

func run() error {
	adapter := bluetooth.DefaultAdapter
	if err := adapter.Enable(); err != nil {
		return err
	}
	if _, err := adapter.Address(); err != nil {
		return err
	}
	step("power") // Scan fails on an adapter that is off

	var found bluetooth.ScanResult
	timer := time.AfterFunc(limit, func() { _ = adapter.StopScan() })
	err := adapter.Scan(func(a *bluetooth.Adapter, r bluetooth.ScanResult) {
		if r.Address.String() == pulse && r.LocalName() == "Pulse HR-1" {
			found = r
			_ = a.StopScan()
		}
	})
	timer.Stop()
	if err != nil || found.AdvertisementPayload == nil {
		return fmt.Errorf("not found: %v", err)
	}
	step("discover")

	device, err := adapter.Connect(found.Address, bluetooth.ConnectionParams{})
	if err != nil {
		return err
	}
	step("connect")
	greeting, counter, err := list(device)
	if err != nil {
		return err
	}
	step("list")

	buf := make([]byte, 512)
	if n, err := greeting.Read(buf); err != nil || n == 0 {
		return fmt.Errorf("read %d bytes: %v", n, err)
	}
	step("read")
	if _, err := greeting.Write([]byte("from tinygo")); err != nil {
		return err
	}
	if n, err := greeting.Read(buf); err != nil || string(buf[:n]) != "from tinygo" {
		return fmt.Errorf("read %q after writing: %v", buf[:n], err)
	}
	step("write")
	if err := notify(counter); err != nil {
		return err
	}
	step("notify")
	if err := device.Disconnect(); err != nil {
		return err
	}
	step("disconnect")
	return nil
}

func list(device bluetooth.Device) (greeting, counter bluetooth.DeviceCharacteristic, err error) {
	var uuids [3]bluetooth.UUID
	for i, text := range []string{serviceUUID, greetingUUID, counterUUID} {
		uuids[i], err = bluetooth.ParseUUID(text)
		if err != nil {
			return greeting, counter, err
		}
	}
	services, err := device.DiscoverServices(uuids[:1])
	if err != nil {
		return greeting, counter, err
	}
	chars, err := services[0].DiscoverCharacteristics(uuids[1:])
	if err != nil {
		return greeting, counter, err
	}
	return chars[0], chars[1], nil
}

func notify(counter bluetooth.DeviceCharacteristic) error {
	values := make(chan uint32, 64)
	if err := counter.EnableNotifications(func(b []byte) {
		if len(b) == 4 {
			select {
			case values <- binary.BigEndian.Uint32(b):
			default:
			}
		}
	}); err != nil {
		return err
	}
	var first uint32
	for i := range uint32(3) {
		select {
		case v := <-values:
			if i == 0 {
				first = v
			}
			if v != first+i {
				return fmt.Errorf("value %d, want %d", v, first+i)
			}
		case <-time.After(limit):
			return errors.New("no notification")
		}
	}
	return nil
}
