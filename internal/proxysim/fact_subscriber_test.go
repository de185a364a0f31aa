package proxysim

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// The tests TestFactNN each show one fact of ../shared/esphome-contract.md §11 by firmware version: "M" is what was
// measured on the firmware's own code (2026.6.5 and 2026.10.0), the rest was only read or comes from a device's log.

// question is §11.1's: who has the proxy? The address is nobody's, and the request is refused.
func question() *apipb.BluetoothDeviceRequest {
	return &apipb.BluetoothDeviceRequest{Address: 1, RequestType: rtConnect}
}

// allocated asks for the slots: which addresses have one.
func (c *peer) allocated() []uint64 {
	c.t.Helper()
	c.send(&apipb.SubscribeBluetoothConnectionsFreeRequest{})
	return expect[*apipb.BluetoothConnectionsFreeResponse](c).GetAllocated()
}

func TestFact01WhoHasTheProxy(t *testing.T) {
	for _, version := range []string{"2026.8.2", "2026.9.1", "2026.10.0"} { // 2026.10.0: M
		t.Run(version+", somebody", func(t *testing.T) {
			inWorld(t, goldenSpecs(t), func(w *world) {
				p := w.proxy(ProxyConfig{Version: version})
				host, asker := w.dial(p), w.dial(p)
				host.subscribe()
				w.settle()
				drain(host)
				asker.send(question())
				<-time.After(250 * time.Millisecond)
				if got := fmt.Sprint(asker.allocated()); got != "[1]" {
					t.Errorf("allocated while somebody has it: %s", got)
				}
				<-time.After(time.Minute)
				if got := fmt.Sprint(asker.allocated()); got != "[1]" {
					t.Errorf("allocated a minute later: %s", got)
				}
				asker.send(request(1, rtDisconnect))
				// What the host sees of it: no change of the scanner, and its old numbers.
				check(t, "the host", host.lines(time.Second), []string{
					"69 00:00:00:00:00:01 false mtu 0 error 0x0", "69 00:00:00:00:00:01 false mtu 0 error 0x0", "81 free 3 of 3 0",
				})
				if n, _ := host.adverts(time.Second); len(n) == 0 {
					t.Error("the host lost its advertisements")
				}
				if got := asker.allocated(); len(got) != 0 {
					t.Errorf("allocated after DISCONNECT: %v", got)
				}
				host.close()
				asker.close()
			})
		})
		t.Run(version+", nobody", func(t *testing.T) {
			inWorld(t, goldenSpecs(t), func(w *world) {
				asker := w.dial(w.proxy(ProxyConfig{Version: version}))
				<-time.After(50 * time.Millisecond) // between two sweeps
				asker.send(question())
				<-time.After(20 * time.Millisecond)
				if got := fmt.Sprint(asker.allocated()); got != "[1]" {
					t.Errorf("allocated after 20 ms: %s", got)
				}
				<-time.After(230 * time.Millisecond)
				if got := asker.allocated(); len(got) != 0 {
					t.Errorf("allocated while nobody has it: %v", got)
				}
				asker.close()
			})
		})
	}
	for _, version := range []string{"2025.11.0", "2026.6.5", "2026.7.4"} { // 2026.6.5: M
		t.Run(version+" leaks", func(t *testing.T) {
			inWorld(t, goldenSpecs(t), func(w *world) {
				p := w.proxy(ProxyConfig{Version: version})
				asker := w.dial(p)
				asker.send(question())
				<-time.After(250 * time.Millisecond)
				asker.send(request(1, rtDisconnect))
				<-time.After(time.Second)
				if got := fmt.Sprint(asker.allocated()); got != "[1]" {
					t.Errorf("allocated after DISCONNECT: %s", got)
				}
				asker.close()
				<-time.After(time.Second)
				if s := p.Slots(); s.Free != 2 {
					t.Errorf("after the session: %+v", s)
				}
				p.Restart(0)
				if s := p.Slots(); s.Free != 3 {
					t.Errorf("after a restart: %+v", s)
				}
			})
		})
	}
	t.Run("no free slot is an answer", func(t *testing.T) {
		inWorld(t, goldenSpecs(t), func(w *world) {
			p := w.proxy(ProxyConfig{Slots: 1})
			host, asker := w.dial(p), w.dial(p)
			host.subscribe()
			host.link(goldenMain)
			asker.send(question())
			check(t, "the host", quietScan(host.lines(time.Second)), []string{"69 00:00:00:00:00:01 false mtu 0 error 0x0"})
			if got := asker.allocated(); len(got) != 1 || got[0] == 1 {
				t.Errorf("allocated: %v", got)
			}
			host.close()
			asker.close()
		})
	})
}

func TestFact02ASubscriptionIsProvedAtOnce(t *testing.T) {
	for _, tt := range []struct {
		version string
		second  []string // what a second subscriber gets that asks for the slots behind it
	}{
		{"2025.5.0", []string{"81 free 3 of 3 0"}},
		{"2026.6.5", []string{"81 free 3 of 3 0"}}, // M: no 126 is proof that somebody has it
		{"2026.7.4", []string{"126 2", "81 free 3 of 3 0"}},
		{"2026.10.0", []string{"126 2", "81 free 3 of 3 0"}}, // M
	} {
		t.Run(tt.version, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				p := w.proxy(ProxyConfig{Version: tt.version})
				first, second := w.dial(p), w.dial(p)
				both := []proto.Message{
					&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1}, &apipb.SubscribeBluetoothConnectionsFreeRequest{},
				}
				first.send(both...)
				check(t, "first", first.lines(time.Millisecond), []string{"126 2", "81 free 3 of 3 0"})
				second.send(both...)
				check(t, "second", second.lines(time.Minute), tt.second)
				check(t, "first again", first.lines(time.Millisecond), nil) // nobody tells it
				first.close()
				second.close()
			})
		})
	}
}

func TestFact03TheftProbe(t *testing.T) {
	const nobody, absent ble.Address = 0x020000000001, 0xAABBCCDDEEFF
	for _, version := range []string{"2026.6.5", "2026.10.0"} { // both M
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprint(version, " attempt ", busy), func(t *testing.T) {
				inWorld(t, nil, func(w *world) {
					p := w.proxy(ProxyConfig{Version: version})
					host, other := w.dial(p), w.dial(p)
					host.subscribe()
					if busy {
						host.send(request(absent, rtConnect))
						host.lines(time.Second)
					}
					probe := []proto.Message{
						&apipb.BluetoothGATTReadRequest{Address: uint64(nobody), Handle: 1}, &apipb.SubscribeBluetoothConnectionsFreeRequest{},
					}
					host.send(probe...)
					r, err := host.receive(11*time.Millisecond, func(proto.Message) bool { return true })
					m, ok := r.m.(*apipb.BluetoothGATTErrorResponse)
					if err != nil || !ok || m.GetError() != -1 || m.GetAddress() != uint64(nobody) {
						t.Errorf("got %T %v, %v", r.m, r.m, err)
					}
					expect[*apipb.BluetoothConnectionsFreeResponse](host)
					// Who is not the subscriber gets the slots only.
					other.send(probe...)
					if got := other.lines(time.Millisecond); len(got) != 1 || got[0][:2] != "81" {
						t.Errorf("the other got %q", got)
					}
					host.close()
					other.close()
				})
			})
		}
	}
}

func TestFact04AnyConnectionIsObeyed(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		p := w.proxy(ProxyConfig{})
		host, other := w.dial(p), w.dial(p)
		host.subscribe()
		other.send(&apipb.BluetoothScannerSetModeRequest{Mode: 0}, request(goldenMain, rtConnect))
		<-time.After(2 * time.Second)
		other.send(&apipb.BluetoothGATTWriteRequest{Address: uint64(goldenMain), Handle: 33, Data: []byte{7}})
		<-time.After(time.Second)
		st, _ := w.air.Status("main")
		if p.ScanMode() != ble.ScanPassive || st.Connections != 1 || len(st.Writes) != 1 {
			t.Errorf("mode %v, %+v", p.ScanMode(), st)
		}
		other.send(request(goldenMain, rtDisconnect))
		<-time.After(time.Second)
		if st, _ := w.air.Status("main"); st.Connections != 0 {
			t.Error("the link is still there")
		}
		other.quiet(time.Millisecond)
		host.close()
		other.close()
	})
}

func TestFact11SubscriberGoneOrReplaced(t *testing.T) {
	const absent ble.Address = 0xAABBCCDDEEFF
	for _, version := range []string{"2026.6.5", "2026.10.0"} {
		t.Run(version+" gone", func(t *testing.T) {
			inWorld(t, goldenSpecs(t), func(w *world) {
				p := w.proxy(ProxyConfig{Version: version})
				host, other := w.dial(p), w.dial(p)
				host.subscribe()
				host.link(goldenMain)
				host.close()
				<-time.After(100*time.Millisecond + teardown + closeDelay + time.Millisecond)
				if s := p.Slots(); s.Free != 3 {
					t.Errorf("slots %+v", s)
				}
				other.quiet(time.Second)
				other.close()
			})
		})
		t.Run(version+" gone during an attempt", func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				p := w.proxy(ProxyConfig{Version: version})
				host := w.dial(p)
				host.subscribe()
				host.send(request(absent, rtConnect))
				w.settle()
				host.close()
				<-time.After(time.Second)
				// What cannot be cancelled keeps its slot and the radio, whoever subscribes then.
				if got, want := p.Slots().Free, map[bool]int{false: 2, true: 3}[p.fw.cancels()]; got != want {
					t.Errorf("%d free slots, want %d", got, want)
				}
				<-time.After(defaultEstablishTimeout)
				if s := p.Slots(); s.Free != 3 {
					t.Errorf("in the end %+v", s)
				}
			})
		})
	}
	t.Run("replaced", func(t *testing.T) {
		inWorld(t, goldenSpecs(t), func(w *world) {
			p := w.proxy(ProxyConfig{})
			old := w.dial(p)
			old.subscribe()
			old.link(goldenMain)
			old.send(&apipb.BluetoothGATTNotifyRequest{Address: uint64(goldenMain), Handle: 37, Enable: true})
			expect[*apipb.BluetoothGATTNotifyResponse](old)
			old.writeDescriptor(goldenMain, 38, []byte{1, 0})
			next := w.dial(p)
			next.subscribe()
			_ = w.air.Notify("main", 37, []byte{9}, false)
			if m := expect[*apipb.BluetoothGATTNotifyDataResponse](next); m.GetData()[0] != 9 {
				t.Errorf("got %v", m)
			}
			old.quiet(time.Millisecond)
			old.close()
			next.close()
		})
	})
}
