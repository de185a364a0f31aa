package floor

import (
	"errors"
	"testing"

	"bluez-esphome/internal/apiwire"
)

// TestAdverts: a payload is compared with the one before. Bytes that cannot be decoded are an error and no panic.
func TestAdverts(t *testing.T) {
	t.Parallel()
	f := &Floor{devices: map[uint64]*device{}}
	message := func(data ...byte) []byte {
		b := apiwire.AppendRawAdvert(nil, apiwire.RawAdvert{Address: 0xC0DE00000001, RSSI: -71, AddressType: 1, Data: data})
		return apiwire.AppendRawAdvert(b, apiwire.RawAdvert{Address: 2, RSSI: 4, Data: []byte{9}})
	}
	for _, m := range [][]byte{message(1, 2, 3), message(1, 2, 3), message(1, 2, 4), message(1, 2)} {
		if err := f.adverts(m); err != nil {
			t.Fatal(err)
		}
	}
	if d := f.devices[0xC0DE00000001]; d == nil || d.news != 3 || d.rssi != -71 || string(d.data) != "\x01\x02" {
		t.Errorf("the first device: %+v", d)
	}
	if d := f.devices[2]; len(f.devices) != 2 || d == nil || d.news != 1 || d.rssi != 4 {
		t.Errorf("%d devices, the second %+v", len(f.devices), d)
	}
	whole := message(1, 2, 3)
	for n := 1; n < len(whole); n++ {
		if err := f.adverts(whole[:n]); err != nil && !errors.Is(err, errMalformed) {
			t.Errorf("%d bytes: %v", n, err)
		}
		bad := append([]byte(nil), whole...)
		bad[n] ^= 0xff
		if err := f.adverts(bad); err != nil && !errors.Is(err, errMalformed) {
			t.Errorf("byte %d changed: %v", n, err)
		}
	}
	if f.adverts(whole[:len(whole)-1]) == nil || f.adverts([]byte{0x0a}) == nil || f.adverts([]byte{0x0a, 0x02, 0x22, 0x05}) == nil {
		t.Error("a message that was cut short is taken")
	}
}
