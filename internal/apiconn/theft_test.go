package apiconn

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// firmware is a far end that answers as a proxy does, whoever has its subscription.
type firmware struct {
	far        *peer
	psk        *[32]byte
	info       *apipb.DeviceInfoResponse // what it says of itself, if it is brought up by serve
	mu         sync.Mutex                // guards the following and what far sends
	ours       bool                      // the subscription is the session's
	other      bool                      // another host has it
	grants     bool                      // a new subscription wins
	asked      bool                      // somebody asks whose it is, and the answer is in the slots
	questions  int                       // so many times
	modes      []apipb.BluetoothScannerMode
	dull       bool // no adverts follow it
	under      int  // slots that are under way when a read comes
	foreign    []uint64
	last       uint64          // the device for which the other host takes a slot just before a question comes, 0 for none
	subscribed []time.Duration // since begun, when it was asked for
	dropped    []uint64        // disconnect requests
	begun      time.Time
}

// serve answers everything until the connection ends.
func (f *firmware) serve() {
	f.mu.Lock()
	f.begun = time.Now()
	f.mu.Unlock()
	for {
		id, payload, err := f.far.f.Read()
		if err != nil {
			return
		}
		f.answer(decode(f.far, id, payload))
	}
}

func (f *firmware) answer(m proto.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []proto.Message
	switch m := m.(type) {
	case *apipb.PingRequest:
		out = append(out, &apipb.PingResponse{})
	case *apipb.HelloRequest:
		out = append(out, &apipb.HelloResponse{ApiVersionMajor: 1, ApiVersionMinor: 19, Name: f.info.Name})
	case *apipb.DeviceInfoRequest:
		out = append(out, f.info)
	case *apipb.BluetoothScannerSetModeRequest:
		f.modes = append(f.modes, m.Mode)
	case *apipb.SubscribeBluetoothConnectionsFreeRequest:
		allocated := f.foreign
		if f.asked && (f.ours || f.other) {
			allocated = append([]uint64{1}, allocated...)
		}
		out = append(out, freeSlots(allocated...))
	case *apipb.BluetoothGATTReadRequest:
		for range f.under {
			out = append(out, freeSlots(f.foreign...))
		}
		if f.ours {
			out = append(out, &apipb.BluetoothGATTErrorResponse{Address: m.Address, Handle: m.Handle, Error: -1})
		}
	case *apipb.SubscribeBluetoothLEAdvertisementsRequest:
		f.subscribed = append(f.subscribed, time.Since(f.begun))
		if f.grants {
			f.ours, f.other = true, false
		}
		if f.ours {
			out = append(out, &apipb.BluetoothScannerStateResponse{State: 2})
		}
		if f.ours && !f.dull {
			out = append(out, heard())
		}
	case *apipb.BluetoothDeviceRequest:
		if m.Address == uint64(probeAddress) {
			f.asked = m.RequestType == apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE
			if f.asked {
				f.questions++
				if f.last != 0 {
					f.foreign, f.last = append(f.foreign, f.last), 0
				}
				f.asked = len(f.foreign) < 3
			}
			if m.HasAddressType {
				f.far.t.Error("the question has an address type: the proxy would dial")
			}
		} else if m.RequestType == apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_DISCONNECT {
			f.dropped = append(f.dropped, m.Address)
		}
	case *apipb.DisconnectRequest:
		out = append(out, &apipb.DisconnectResponse{})
	}
	if len(out) > 0 {
		f.far.send(out...)
	}
}

// with changes or looks at it.
func (f *firmware) with(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func heard() *apipb.BluetoothLERawAdvertisementsResponse {
	return &apipb.BluetoothLERawAdvertisementsResponse{Advertisements: []*apipb.BluetoothLERawAdvertisement{{Address: 1}}}
}

// TestTheft: another host subscribes. The link that was up is gone with the subscription.
func TestTheft(t *testing.T) {
	for _, tt := range []struct {
		name    string
		policy  OnConflict
		version string
		within  time.Duration // until the first attempt to have it back
		soonest time.Duration
	}{
		{"yield", Yield, "2026.7.4", 32 * time.Minute, 30 * time.Minute},
		{"retake", Retake, "2026.7.4", 2 * time.Minute, 0},
		{"old firmware", Yield, "2026.6.1", 2 * time.Minute, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				changes := 0
				b := newBench(t, func(c *Config) { c.OnConflict, c.Changed = tt.policy, func() { changes++ } })
				far := b.onlineAs(old(tt.version, 0xff))
				b.connect(far)
				far.send(heard())
				synctest.Wait()
				b.rec.take()
				changes = 0

				f := &firmware{far: far, foreign: []uint64{wireAddr}} // our link holds its slot
				served := only(func() error { f.serve(); return nil })
				read := result(func() ([]byte, error) { return b.p.Read(t.Context(), testAddr, 3) })
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if b.p.State() != StateDisplaced || b.p.Online() || changes == 0 {
					t.Fatalf("after 5 s: state %v, online %v, %d changes", b.p.State(), b.p.Online(), changes)
				}
				time.Sleep(suspectAfter) // until the watch looks
				synctest.Wait()
				if next := time.Until(b.p.NextAttempt()); next < tt.soonest-5*time.Second || next > max(tt.soonest, time.Minute) {
					t.Errorf("the next attempt is said to be in %v", next)
				}
				if events := b.rec.take(); !slices.Contains(events, "down AA:BB:CC:DD:EE:FF 0x16") {
					t.Errorf("the link was not given up: %q", events)
				}
				_, err := read()
				wantError(t, err, ble.ErrNotConnected)
				if !slices.Equal(f.dropped, []uint64{wireAddr}) {
					t.Errorf("asked to drop %x", f.dropped)
				}
				f.with(func() { f.foreign, f.grants = nil, true })
				time.Sleep(tt.within)
				synctest.Wait()
				if len(f.subscribed) == 0 || f.subscribed[0] < tt.soonest || b.p.State() != StateOnline || !b.p.Online() {
					t.Errorf("asked for it %v; state %v", f.subscribed, b.p.State())
				}
				if next := b.p.NextAttempt(); !next.IsZero() {
					t.Errorf("it is ours, and the next attempt is said to be at %v", next)
				}
				b.p.Stop()
				_ = far.conn.Close()
				_ = served()
			})
		})
	}
}

// TestNoFight: two hosts that both want the proxy do not take turns for long.
func TestNoFight(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy OnConflict
		most   int // subscriptions in a day
	}{{"yield", Yield, 4}, {"retake", Retake, 60}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(c *Config) { c.OnConflict = tt.policy })
				far := b.online()
				far.send(heard())
				f := &firmware{far: far, grants: true, ours: true}
				served := only(func() error { f.serve(); return nil })
				day := time.After(24 * time.Hour)
				for busy := true; busy; {
					select {
					case <-day:
						busy = false
					case <-time.After(10 * time.Second): // the other host is stubborn
						f.with(func() { f.ours = false })
					}
				}
				if n := len(f.subscribed); n < 2 || n > tt.most {
					t.Errorf("subscribed %d times in a day: %v", n, f.subscribed)
				}
				b.p.Stop()
				_ = far.conn.Close()
				_ = served()
			})
		})
	}
}

// TestOtherHostAtWork: under yield nothing is asked for while the other host uses connection slots.
func TestOtherHostAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		far := b.online()
		far.send(heard())
		f := &firmware{far: far, foreign: []uint64{0x112233445566}, grants: true}
		served := only(func() error { f.serve(); return nil })
		time.Sleep(5 * time.Hour)
		if len(f.subscribed) != 0 || b.p.State() != StateDisplaced {
			t.Errorf("asked %v; state %v", f.subscribed, b.p.State())
		}
		f.with(func() { f.foreign = nil })
		time.Sleep(32 * time.Minute)
		synctest.Wait()
		if len(f.subscribed) == 0 || f.subscribed[0] < 5*time.Hour || b.p.State() != StateOnline {
			t.Errorf("asked %v; state %v", f.subscribed, b.p.State())
		}
		b.p.Stop()
		_ = far.conn.Close()
		_ = served()
	})
}

// TestDeafRadio: the proxy is ours, but hears nothing.
func TestDeafRadio(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		far := b.online()
		far.send(heard())
		f := &firmware{far: far, ours: true, dull: true}
		served := only(func() error { f.serve(); return nil })
		time.Sleep(80 * time.Second)
		if b.p.State() != StateOnline {
			t.Errorf("state %v after 80 s", b.p.State())
		}
		time.Sleep(20 * time.Second)
		if b.p.State() != StateDeaf || b.p.LastError() != errDeafRadio.Error() || !b.p.Online() {
			t.Errorf("state %v, %q", b.p.State(), b.p.LastError())
		}
		f.with(func() { // it is ours: to ask again takes it from nobody
			if len(f.subscribed) != 1 {
				t.Errorf("subscribed %v", f.subscribed)
			}
			far.send(heard())
		})
		synctest.Wait()
		if b.p.State() != StateOnline || b.p.LastError() != "" {
			t.Errorf("state %v after an advert", b.p.State())
		}
		b.p.Stop()
		_ = far.conn.Close()
		_ = served()
	})
}

// TestValuesAreOurs: while a device's values come the proxy is ours, though it hears nothing and drops its answers to
// the question.
func TestValuesAreOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		far := b.online()
		b.connect(far)
		far.send(heard())
		f := &firmware{far: far, foreign: []uint64{wireAddr}}
		served := only(func() error { f.serve(); return nil }) // which answers no read
		stop := make(chan struct{})
		flood := only(func() error {
			for {
				select {
				case <-stop:
					return nil
				case <-time.After(time.Millisecond):
					f.with(func() {
						far.send(&apipb.BluetoothGATTNotifyDataResponse{Address: wireAddr, Handle: 3, Data: []byte{1}})
					})
				}
			}
		})
		time.Sleep(20 * time.Second)
		if b.p.State() != StateOnline {
			t.Errorf("state %v while values come", b.p.State())
		}
		close(stop)
		_ = flood()
		time.Sleep(10 * time.Second)
		if b.p.State() != StateDisplaced {
			t.Errorf("state %v after they have ended", b.p.State())
		}
		b.p.Stop()
		_ = far.conn.Close()
		_ = served()
	})
}

// TestSlotsUnderWay: slots that change while the question is under way come before its answer, and are none.
func TestSlotsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		far := b.online()
		far.send(heard())
		synctest.Wait()
		b.rec.take()
		f := &firmware{far: far, ours: true, under: 9}
		served := only(func() error { f.serve(); return nil })
		time.Sleep(time.Minute)
		if events := b.rec.take(); b.p.State() != StateOnline || slices.ContainsFunc(events, func(e string) bool { return strings.Contains(e, "displaced") }) {
			t.Errorf("state %v, events %q", b.p.State(), events)
		}
		f.with(func() { f.ours = false })
		time.Sleep(8 * time.Second)
		if b.p.State() != StateDisplaced {
			t.Errorf("state %v after a theft", b.p.State())
		}
		b.p.Stop()
		_ = far.conn.Close()
		_ = served()
	})
}
