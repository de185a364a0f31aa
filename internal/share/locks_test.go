package share

import (
	"sync"
	"testing"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// Everything that the daemon, the links and the hosts may call comes at once, for a proxy of its own and for all as
// one. With the race detector each lock that is taken out of order panics; without it a deadlock would show as the
// test's end by time-out.
func TestEverythingAtOnce(t *testing.T) {
	for _, merged := range []bool{false, true} {
		name := "each"
		if merged {
			name = "merged"
		}
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			var member *Member
			if merged {
				b.p.Down()
				m := NewMerged(b.s)
				member = m.join(t, testInfo)
				m.mu.Lock()
				b.p = m.up
				m.mu.Unlock()
			}
			const rounds = 200
			slots := func(n int) ble.Slots {
				return ble.Slots{Known: true, Free: n % 4, Limit: 3, HasAllocated: true, Allocated: []ble.Address{device1}}
			}
			var wg sync.WaitGroup
			run := func(f func(n int)) {
				wg.Go(func() {
					for n := range rounds {
						f(n)
					}
				})
			}
			hosts := []*client{b.enter(), b.enter(), b.enter()}
			a := uint64(device1)
			request := func(kind apipb.BluetoothDeviceRequestType) *apipb.BluetoothDeviceRequest {
				return &apipb.BluetoothDeviceRequest{Address: a, HasAddressType: true, AddressType: 1, RequestType: kind}
			}
			for _, c := range hosts {
				go func() { // what comes back is read and does not matter
					for {
						if _, _, err := c.f.Read(); err != nil {
							return
						}
					}
				}()
				run(func(n int) {
					_ = c.write(
						&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: uint32(n % 2)}, &apipb.SubscribeBluetoothConnectionsFreeRequest{},
						&apipb.BluetoothScannerSetModeRequest{Mode: apipb.BluetoothScannerMode(n % 2)},
						request(apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE),
						&apipb.BluetoothGATTGetServicesRequest{Address: a},
						&apipb.BluetoothGATTNotifyRequest{Address: a, Handle: 3, Enable: n%2 == 0},
						&apipb.BluetoothGATTReadRequest{Address: a, Handle: 3}, &apipb.BluetoothGATTWriteRequest{Address: a, Handle: 3, Response: true},
						request(apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_PAIR),
						request(apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_UNPAIR),
						request(apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CLEAR_CACHE),
						&apipb.BluetoothSetConnectionParamsRequest{Address: a, MinInterval: 6, MaxInterval: 6, Timeout: 100},
						request(apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_DISCONNECT),
						&apipb.UnsubscribeBluetoothLEAdvertisementsRequest{},
					)
				})
			}
			b.mu.Lock()
			links := b.links
			b.mu.Unlock()
			for _, l := range links {
				run(func(n int) {
					l.ev.Resolved(device1, fakeDB, 100)
					l.ev.Notified(device1, 3, []byte{byte(n)})
					l.ev.Paired(device1, n%2 == 0)
					l.ev.DatabaseChanged(device1, fakeDB)
					l.ev.Unsubscribed(device1, 3, ble.ErrTimeout)
					l.ev.LinkDown(device1, ble.DisconnectTimeout)
				})
			}
			run(func(int) { b.s.Status() })
			run(func(n int) { b.p.Adverts(batch(n, 3)) })
			run(func(n int) { b.p.Slots(slots(n)) })
			run(func(n int) {
				b.p.Scanner(ble.ScannerRunning, ble.ScannerMode(n%2), ble.ScannerMode(n/2%2))
				b.p.WantsActive()
			})
			if merged {
				run(func(n int) {
					member.Slots(slots(n))
					member.Scanner(ble.ScannerRunning, ble.ScannerMode(n%2), ble.ScanActive)
					member.WantsActive()
				})
				run(func(n int) {
					info := testInfo
					info.Features = ble.Features(n % 256)
					if mb, err := member.m.Up(info); err == nil {
						mb.Down()
					}
				})
			}
			stop := make(chan struct{})
			drained := make(chan struct{})
			go func() { // ModeChanged is told
				defer close(drained)
				for {
					select {
					case <-b.modes:
					case <-stop:
						return
					}
				}
			}()
			wg.Wait()
			for _, c := range hosts {
				_ = c.conn.Close()
			}
			b.s.Close() // the hosts' last requests may still change the mode
			close(stop)
			<-drained
		})
	}
}
