package apiconn

import (
	"bytes"
	"encoding/hex"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

func newPlainPeer(r io.Reader) *apiwire.Framer { return apiwire.NewPlain(r) }

func TestDecodedAdverts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		started := only(func() error { return b.p.Start(t.Context()) })
		far := b.accept()
		info := deviceInfo()
		info.BluetoothProxyFeatureFlags, info.LegacyBluetoothProxyVersion = 0, 1
		far.read()
		far.read()
		far.send(&apipb.HelloResponse{ApiVersionMajor: 1, ApiVersionMinor: 7, Name: "old"})
		far.read()
		far.send(info)
		if m := want[*apipb.SubscribeBluetoothLEAdvertisementsRequest](far); m.GetFlags() != 0 {
			t.Errorf("flags %d without RAW_ADVERTISEMENTS", m.GetFlags())
		}
		if err := started(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.rec.take()
		far.send(&apipb.BluetoothLEAdvertisementResponse{
			Address: wireAddr, Name: []byte("Thermo"), Rssi: -71, AddressType: 1,
			ServiceUuids:     []string{"0x180F", "0x12345678", "6E400001-B5A3-F393-E0A9-E50E24DCCA9E", "nonsense"},
			ServiceData:      []*apipb.BluetoothServiceData{{Uuid: "0xFCD2", Data: []byte{0x44, 0}}},
			ManufacturerData: []*apipb.BluetoothServiceData{{Uuid: "0x004C", LegacyData: []uint32{2, 0x15}}},
		})
		far.send(&apipb.BluetoothLEAdvertisementResponse{Address: 1, Name: bytes.Repeat([]byte("x"), 300), Rssi: -300})
		b.expectEvents(
			"advert AA:BB:CC:DD:EE:FF random -71 03030f180505"+"78563412"+"1107"+"9ecadc240ee5a9e093f3a3b50100406e"+
				"0709546865726d6f"+"0516d2fc4400"+"05ff4c000215",
			"advert 00:00:00:00:00:01 public 0 ")
		b.stop(far)
	})
}

// counter is a Handler for the advertisement path alone.
type counter struct {
	recorder
	adverts int
}

func (c *counter) Adverts(_ *Proxy, _ time.Time, adverts []ble.RawAdvert) { c.adverts += len(adverts) }

// stream is a connection that delivers the same bytes for ever.
type stream struct {
	net.Conn
	data []byte
	at   int
}

func (s *stream) Read(b []byte) (int, error) {
	n := copy(b, s.data[s.at:])
	s.at = (s.at + n) % len(s.data)
	return n, nil
}

func advertSession(tb testing.TB) (*session, *counter) {
	tb.Helper()
	frame, err := hex.DecodeString("00345d0a1308ffddf7e6bcd72a107722070201060303aafe0a1d08d6e8c8f0fe9f3010b7011801220e02011a0aff4c001005031c8fd2c0")
	if err != nil {
		tb.Fatal(err)
	}
	c := new(counter)
	p, err := New(Config{Address: "192.0.2.1", Handler: c})
	if err != nil {
		tb.Fatal(err)
	}
	s := newSession(p, &stream{data: frame})
	s.f, s.up = apiwire.NewPlain(s), true
	return s, c
}

func TestAdvertPathDoesNotAllocate(t *testing.T) {
	s, c := advertSession(t)
	_ = s.readOne() // the batch's first size
	n := testing.AllocsPerRun(1000, func() {
		if err := s.readOne(); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 || c.adverts < 2000 {
		t.Errorf("%v allocations for each message, %d adverts", n, c.adverts)
	}
}

func BenchmarkAdverts(b *testing.B) {
	s, _ := advertSession(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.readOne(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestHostileAdverts(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		far.send(&apipb.BluetoothLERawAdvertisementsResponse{Advertisements: []*apipb.BluetoothLERawAdvertisement{
			{Address: 1<<63 | 5, Rssi: 1000, AddressType: 77, Data: []byte{1}},
			{Address: 2, Data: make([]byte, 5000)},
		}})
		far.raw("00035d" + "0aff01") // cut
		far.send(&apipb.BluetoothLERawAdvertisementsResponse{Advertisements: []*apipb.BluetoothLERawAdvertisement{{Address: 3, Rssi: -5}}})
		b.expectEvents("advert 00:00:00:00:00:05 random 0 01", "advert 00:00:00:00:00:03 public -5 ")
	})
}
