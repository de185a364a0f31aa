package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
)

func TestProxies(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	for i := range 10 {
		n, ok := s.ProxyAdapter(ble.Address(100 + i))
		if want := i < 8; ok != want || ok && n != i+1 {
			t.Errorf("proxy %d: hci%d %v", i, n, ok)
		}
		if n, ok := s.ShareIndex(ble.Address(109-i), 0); n != i || !ok {
			t.Errorf("proxy %d: share %d %v", 9-i, n, ok)
		}
	}
	s.FreeAdapter(102)
	closeStore(t, s)
	s, _ = open(t, dir)
	if n, ok := s.ProxyAdapter(109); n != 3 || !ok {
		t.Errorf("the freed number: %d %v", n, ok)
	}
	if n, ok := s.ShareIndex(100, 0); n != 9 || !ok {
		t.Errorf("kept: %d %v", n, ok)
	}
	if n, ok := s.ShareIndex(102, 0); n != 7 || !ok {
		t.Errorf("kept without an adapter: %d %v", n, ok)
	}
}

// What an adapter needs before its proxy is online is kept; a freed number leaves nothing behind.
func TestProxyInfo(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	kitchen := ProxyInfo{Name: "kitchen", Endpoint: "kitchen.local:6053", Bluetooth: 0x30c6f71a2b5e}
	for _, mac := range []ble.Address{30, 20, 10} {
		s.ProxyAdapter(mac)
	}
	now := time.Unix(1_790_000_000, 0)
	s.SetProxyInfo(20, kitchen, now)
	s.SetAdapter(1, AdapterState{Alias: "of 30"})
	closeStore(t, s)
	s, _ = open(t, dir)
	s.FreeAdapter(30)
	s.FreeAdapter(99)
	var got []string
	s.ProxyAdapters(func(mac ble.Address, index int, info ProxyInfo) {
		got = append(got, fmt.Sprint(uint64(mac), index, info == kitchen))
	})
	if want := []string{"20 2 true", "10 3 false"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if n, ok := s.ProxyAdapter(40); n != 1 || !ok || s.Adapter(1) != newAdapter {
		t.Errorf("the freed number: %d %v %+v", n, ok, s.Adapter(1))
	}
}

// Numbers that nobody used for long are given to others; a proxy that is used keeps its own, and one that takes
// another's place in the configuration takes its numbers.
func TestForgetProxies(t *testing.T) {
	s, _ := open(t, t.TempDir())
	const month = 30 * 24 * time.Hour
	begun := time.Unix(1_790_000_000, 0)
	for i := range 8 {
		s.ProxyAdapter(ble.Address(1 + i))
		s.ShareIndex(ble.Address(1+i), 0)
		s.SetProxyInfo(ble.Address(1+i), ProxyInfo{Name: "p"}, begun)
	}
	s.SetAdapter(3, AdapterState{Alias: "of 3"})
	if _, ok := s.ProxyAdapter(100); ok {
		t.Fatal("a ninth adapter")
	}
	s.ForgetProxies(begun.Add(month-time.Hour), month)
	if _, ok := s.ProxyAdapter(100); ok {
		t.Error("a number was free too early")
	}
	s.SetProxyInfo(8, ProxyInfo{Name: "p"}, begun.Add(month))
	s.ForgetProxies(begun.Add(month+48*time.Hour), month)
	if n, ok := s.ProxyAdapter(100); n != 1 || !ok {
		t.Errorf("number %d, %v", n, ok)
	}
	if n, ok := s.ProxyAdapter(8); n != 8 || !ok || s.Adapter(3) != newAdapter {
		t.Errorf("the one that is used has %d; of 3: %+v", n, s.Adapter(3))
	}
	s.MoveProxy(8, 200)
	s.MoveProxy(9, 100)
	if n, _ := s.ProxyAdapter(200); n != 8 {
		t.Errorf("moved to %d", n)
	}
	if n, _ := s.ShareIndex(200, 0); n != 7 {
		t.Errorf("its port is number %d", n)
	}
}
