// Package muka drives the daemon with github.com/muka/go-bluetooth, the archived Go client
// that many programs still have. It is a package of its own because that library keeps one global bus
// connection, made from the environment, and because it has data races of its own: it is tested without
// the race detector (the daemon that it talks to has it).
package muka

import (
	"context"
	"testing"
	"time"

	"bluez-esphome/tests/harness"

	"github.com/muka/go-bluetooth/api"
	"github.com/muka/go-bluetooth/bluez/profile/adapter"
	"github.com/muka/go-bluetooth/bluez/profile/device"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	pulsePath    = "/org/bluez/hci0/dev_C8_2B_96_10_00_01"
	greetingUUID = "b1e50002-6d5e-4c1b-9e3a-1f0c2d3e4f50"
)

// TestMuka: discover, connect, read.
func TestMuka(t *testing.T) {
	bus := harness.Demo(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.Address)
	defer func() {
		if err := api.Exit(); err != nil {
			t.Error(err)
		}
	}()
	a, err := api.GetDefaultAdapter()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.FlushDevices(); err != nil {
		t.Fatal(err)
	}
	found, cancel, err := api.Discover(a, &adapter.DiscoveryFilter{Transport: "le"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), harness.Limit)
	defer stop()
	for seen := false; !seen; {
		select {
		case ev := <-found:
			seen = ev != nil && ev.Path == pulsePath && ev.Type == adapter.DeviceAdded
		case <-ctx.Done():
			t.Fatal("the sensor was not discovered")
		}
	}
	cancel()

	dev, err := device.NewDevice1(pulsePath)
	if err != nil {
		t.Fatal(err)
	}
	if dev.Properties.Name != "Pulse HR-1" || dev.Properties.Address != "C8:2B:96:10:00:01" {
		t.Errorf("device: name %q, address %q", dev.Properties.Name, dev.Properties.Address)
	}
	changes, err := dev.WatchProperties()
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Connect(); err != nil {
		t.Fatal(err)
	}
	for resolved := false; !resolved; {
		select {
		case c := <-changes:
			resolved = c != nil && c.Name == "ServicesResolved" && c.Value == true
		case <-ctx.Done():
			t.Fatal("services were not resolved")
		}
	}
	char, err := dev.GetCharByUUID(greetingUUID)
	if err != nil || char == nil {
		t.Fatalf("characteristic %v: %v", char, err)
	}
	value, err := char.ReadValue(map[string]interface{}{})
	if err != nil || string(value) != "hello" {
		t.Errorf("read %q, %v", value, err)
	}
	go func() { // UnwatchProperties sends one last nil and hangs if nobody takes it
		for c := range changes {
			if c == nil {
				return
			}
		}
	}()
	if err := dev.UnwatchProperties(changes); err != nil {
		t.Error(err)
	}
	if err := dev.Disconnect(); err != nil {
		t.Error(err)
	}
	waitNotConnected(t, dev)
}

func waitNotConnected(t *testing.T, dev *device.Device1) {
	t.Helper()
	deadline := time.Now().Add(harness.Limit)
	for {
		connected, err := dev.GetConnected()
		if err != nil {
			t.Fatal(err)
		}
		if !connected {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("still connected after Disconnect")
		}
	}
}
