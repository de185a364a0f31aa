// Command muka runs the steps of the client matrix on github.com/muka/go-bluetooth, the archived Go client that
// many programs still have. It is built without the race detector: the library has data races of its own.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/muka/go-bluetooth/api"
	"github.com/muka/go-bluetooth/bluez/profile/adapter"
	"github.com/muka/go-bluetooth/bluez/profile/device"
	"github.com/muka/go-bluetooth/bluez/profile/gatt"
)

const (
	pulsePath    = "/org/bluez/hci0/dev_C8_2B_96_10_00_01"
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
	a, err := api.GetDefaultAdapter()
	if err != nil {
		return err
	}
	if on, err := a.GetPowered(); err != nil || !on {
		return fmt.Errorf("powered %v: %w", on, err)
	}
	step("power")
	if err := discover(a); err != nil {
		return err
	}
	step("discover")

	dev, err := device.NewDevice1(pulsePath)
	if err != nil {
		return err
	}
	if dev.Properties.Address != "C8:2B:96:10:00:01" {
		return fmt.Errorf("device: address %q", dev.Properties.Address)
	}
	changes, err := dev.WatchProperties()
	if err != nil {
		return err
	}
	if err := dev.Connect(); err != nil {
		return err
	}
	step("connect")
	for resolved := false; !resolved; {
		select {
		case c := <-changes:
			resolved = c != nil && c.Name == "ServicesResolved" && c.Value == true
		case <-time.After(limit):
			return errors.New("services were not resolved")
		}
	}
	// Not before: a scan response may come after the device.
	if name, err := dev.GetName(); err != nil || name != "Pulse HR-1" {
		return fmt.Errorf("device: name %q: %v", name, err)
	}
	greeting, err := characteristic(dev, greetingUUID)
	if err != nil {
		return err
	}
	counter, err := characteristic(dev, counterUUID)
	if err != nil {
		return err
	}
	step("list")

	if value, err := greeting.ReadValue(nil); err != nil || len(value) == 0 {
		return fmt.Errorf("read %q: %v", value, err)
	}
	step("read")
	if err := greeting.WriteValue([]byte("from muka"), map[string]any{"type": "request"}); err != nil {
		return err
	}
	if value, err := greeting.ReadValue(nil); err != nil || string(value) != "from muka" {
		return fmt.Errorf("read %q after writing: %v", value, err)
	}
	step("write")
	if err := notify(counter); err != nil {
		return err
	}
	step("notify")
	if err := dev.Disconnect(); err != nil {
		return err
	}
	if on, err := dev.GetConnected(); err != nil || on {
		return fmt.Errorf("connected %v after Disconnect: %v", on, err)
	}
	step("disconnect")
	return nil
}

// discover waits for the device to be added: the library knows no other way to learn of one.
func discover(a *adapter.Adapter1) error {
	if err := a.FlushDevices(); err != nil {
		return err
	}
	found, cancel, err := api.Discover(a, &adapter.DiscoveryFilter{Transport: "le"})
	if err != nil {
		return err
	}
	defer func() {
		go func() { // cancel sends to who may be waiting to send to us: it hangs unless somebody takes what comes
			for ev := range found {
				_ = ev
			}
		}()
		cancel()
	}()
	timeout := time.After(limit)
	for {
		select {
		case ev := <-found:
			if ev != nil && ev.Path == pulsePath && ev.Type == adapter.DeviceAdded {
				return nil
			}
		case <-timeout:
			return errors.New("the sensor was not discovered")
		}
	}
}

func characteristic(dev *device.Device1, uuid string) (*gatt.GattCharacteristic1, error) {
	c, err := dev.GetCharByUUID(uuid)
	if err == nil && c == nil {
		err = fmt.Errorf("no characteristic %s", uuid)
	}
	return c, err
}

func notify(counter *gatt.GattCharacteristic1) error {
	changes, err := counter.WatchProperties()
	if err != nil {
		return err
	}
	if err := counter.StartNotify(); err != nil {
		return err
	}
	var first uint32
	for i := uint32(0); i < 3; {
		select {
		case c := <-changes:
			b, ok := c.Value.([]byte)
			if c.Name != "Value" || !ok || len(b) != 4 {
				continue
			}
			v := binary.BigEndian.Uint32(b)
			if i == 0 {
				first = v
			}
			if v != first+i {
				return fmt.Errorf("value %d, want %d", v, first+i)
			}
			i++
		case <-time.After(limit):
			return errors.New("no notification")
		}
	}
	return nil // the library cannot stop watching without a reader that goes on; the process ends anyway
}
