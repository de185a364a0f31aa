package store

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
)

// Nothing that callers do with their locks held waits for the disk: while a file is being written everything but Flush
// and Close goes on (issue 16).
func TestNobodyWaitsForTheWriter(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.writeMu.Lock() // as during an fsync
	done := make(chan struct{})
	go func() {
		defer close(done)
		a := ble.Address(0xAA0000000001)
		s.Gatt(a)
		s.SetGatt(a, GattState{Bonded: "kitchen"})
		s.Gatt(a)
		s.SetGatt(a, GattState{})
		s.SetDevice(a, DeviceState{Trusted: true})
		s.Device(a)
		s.Devices(func(ble.Address, DeviceState) {})
		s.DeleteDevice(a)
		s.SetUnpair("kitchen", a, true)
		s.Unpairs("kitchen")
		s.SetAdapter(1, s.Adapter(1))
		s.ProxyAdapter(a)
		s.SetProxyInfo(a, ProxyInfo{Name: "kitchen"}, time.Now())
		s.ProxyAdapters(func(ble.Address, int, ProxyInfo) {})
		s.FreeAdapter(a)
		s.ShareIndex(a, 0)
	}()
	select {
	case <-done:
	case <-time.After(3 * time.Minute):
		t.Error("a caller waits for the writer")
	}
	s.writeMu.Unlock()
	<-done
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// What was set while a file was read counts, and is not undone by what the file said.
func TestLoadBesideSet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() *Store {
		s, err := Open(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a := ble.Address(0xAA0000000001)
	s := open()
	s.SetGatt(a, GattState{Bonded: "old"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		s = open()
		read := make(chan struct{})
		go func() {
			defer close(read)
			s.Gatt(a)
		}()
		s.SetGatt(a, GattState{})
		_ = s.Flush()
		<-read
		if g, ok := s.Gatt(a); ok {
			t.Fatalf("what was removed is back: %+v", g)
		}
		s.SetGatt(a, GattState{Bonded: "old"})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLateDamage: whoever read a damaged file may say so after it was set aside, and after another one was written in
// its place: that one stays, and nothing is said twice.
func TestLateDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, gattName(dev))
	write(t, path, "{")
	s, l := open(t, dir)
	_, which, err := s.read(gattName(dev), maxGattFile)
	if err != nil {
		t.Fatal(err)
	}
	late := broken{errors.New("unexpected end of JSON input"), which}
	s.reportDamage(gattName(dev), late)
	for range 2 { // nothing is there, and then a good file
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		s.reportDamage(gattName(dev), late)
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		s.SetGatt(dev, sampleGatt())
	}
	kept, _ := filepath.Glob(path + ".damaged-*")
	if _, err := os.Stat(path); err != nil || len(kept) != 1 || l.count("\n") != 1 {
		t.Errorf("%v; set aside %q; logged %s", err, kept, l)
	}
}
