package apiserver

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

func TestOverflowEndsTheSession(t *testing.T) {
	for name, limits := range map[string]QueueLimits{"messages": {Messages: 20}, "bytes": {Bytes: 500}} {
		t.Run(name, func(t *testing.T) {
			cfg := modern()
			cfg.Queue = limits
			withSession(t, cfg, func(r *rig) {
				r.hello()
				for i := range 100 { // nobody reads
					r.back.session.ReadData(1, uint16(i), make([]byte, 20))
				}
				r.wantEnd(ErrOverflow)
			})
		})
	}
}

func TestLossyMessagesAreDropped(t *testing.T) {
	for _, tt := range []struct {
		oldest bool
		want   string
	}{{false, "[0 1 2 3 4]"}, {true, "[0 96 97 98 99]"}} {
		t.Run(fmt.Sprint(tt.oldest), func(t *testing.T) {
			cfg := modern()
			cfg.Queue = QueueLimits{Adverts: 4, Notifications: 2, DropOldest: tt.oldest}
			withSession(t, cfg, func(r *rig) {
				r.hello()
				s := r.back.session
				for i := range 100 {
					s.RawAdverts([]ble.RawAdvert{{Address: ble.Address(i), Data: []byte{1}}})
					synctest.Wait() // the first one is on its way and blocks
				}
				s.Written(1, 2) // what must not be lost still comes
				for i := range 3 {
					s.NotifyData(1, 2, []byte{byte(i)}) // the last one has no room
				}
				if c := s.Counts(); c.DroppedAdverts != 95 || c.DroppedNotifications != 1 {
					t.Errorf("counts %+v", c)
				}
				drained := s.Drained()
				select {
				case <-drained:
					t.Error("drained already")
				default:
				}
				got := []uint64{}
				for range 5 {
					m := r.want(apiwire.BluetoothLERawAdvertisementsResponse).(*apipb.BluetoothLERawAdvertisementsResponse)
					got = append(got, m.GetAdvertisements()[0].GetAddress())
				}
				if fmt.Sprint(got) != tt.want {
					t.Errorf("got %v, want %s", got, tt.want)
				}
				r.want(apiwire.BluetoothGATTWriteResponse)
				for i := range 2 {
					if m := r.want(apiwire.BluetoothGATTNotifyDataResponse).(*apipb.BluetoothGATTNotifyDataResponse); m.GetData()[0] != byte(i) {
						t.Errorf("notification %d: %v", i, m)
					}
				}
				select {
				case <-drained:
				case <-time.After(time.Second):
					t.Error("not drained")
				}
				select {
				case <-s.Drained():
				default:
					t.Error("an idle session is not drained")
				}
			})
		})
	}
}

func TestServiceBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		services := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ble.Service {
			s := ble.Service{Handle: rapid.Uint16().Draw(t, "handle")}
			copy(s.UUID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
			s.Characteristics = make([]ble.Characteristic, rapid.IntRange(0, 60).Draw(t, "characteristics"))
			for i := range s.Characteristics {
				s.Characteristics[i].UUID = ble.UUID16(0x2a00 + uint16(i))
			}
			return s
		}), 0, 20).Draw(t, "services")
		limit := rapid.SampledFrom([]int{0, 300, ServicesSize}).Draw(t, "limit")
		short := rapid.Bool().Draw(t, "short")
		var all []ble.Service
		for _, b := range ServiceBatches(services, limit, short) {
			m := &apipb.BluetoothGATTGetServicesResponse{}
			for i := range b {
				m.Services = append(m.Services, wireService(&b[i], short))
			}
			if n := proto.Size(m); len(b) == 0 || len(b) > 1 && n > limit {
				t.Fatalf("batch of %d services, %d bytes, limit %d", len(b), n, limit)
			}
			all = append(all, b...)
		}
		if fmt.Sprint(all) != fmt.Sprint(services) {
			t.Fatal("the batches are not the services")
		}
	})
}

func TestServiceEncoding(t *testing.T) {
	custom := ble.UUIDFromHalves(0xa5a5010010004000, 0x8000_00805f9b0001)
	db := []ble.Service{
		{Handle: 1, UUID: ble.UUID16(0x180f), Characteristics: []ble.Characteristic{{Handle: 2, ValueHandle: 3, Properties: 0x12,
			UUID: custom, Descriptors: []ble.Descriptor{{Handle: 4, UUID: ble.UUIDCCCD}}}}},
		{Handle: 5},
	}
	tests := map[bool]string{
		true:  "[1 [] 180f] [3 [a5a5010010004000 800000805f9b0001] 0] [4 [] 2902] [5 [] 0]",
		false: "[1 [180f00001000 800000805f9b34fb] 0] [3 [a5a5010010004000 800000805f9b0001] 0] [4 [290200001000 800000805f9b34fb] 0] [5 [] 0]",
	}
	for short, want := range tests {
		s, z := wireService(&db[0], short), wireService(&db[1], short)
		c := s.Characteristics[0]
		d := c.Descriptors[0]
		got := fmt.Sprintf("[%d %x %x] [%d %x %x] [%d %x %x] [%d %x %x]", s.Handle, s.Uuid, s.ShortUuid,
			c.Handle, c.Uuid, c.ShortUuid, d.Handle, d.Uuid, d.ShortUuid, z.Handle, z.Uuid, z.ShortUuid)
		if got != want {
			t.Errorf("short %v:\n got %s\nwant %s", short, got, want)
		}
	}
}

func BenchmarkRawAdverts(b *testing.B) {
	batch := make([]ble.RawAdvert, 16)
	for i := range batch {
		batch[i] = ble.RawAdvert{Address: 1<<40 + ble.Address(i), RSSI: -60, Type: ble.Random, Data: make([]byte, 40)}
	}
	b.ReportAllocs()
	for b.Loop() {
		EncodeRawAdverts(batch)
	}
}
