package stream

import (
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
)

// The rates, one device that says in turn what each step tells: bytes of content, and how many messages come of it.
func TestRates(t *testing.T) {
	t.Parallel()
	type step struct {
		after   time.Duration
		content byte
		want    int // messages in all
	}
	for name, c := range map[string]struct {
		most, least time.Duration
		steps       []step
	}{
		"changes":       {0, 0, []step{{0, 1, 1}, {time.Hour, 1, 1}, {0, 2, 2}, {0, 1, 3}}},
		"at least":      {0, 10 * time.Second, []step{{0, 1, 1}, {9 * time.Second, 1, 1}, {time.Second, 1, 2}, {time.Second, 2, 3}, {9 * time.Second, 2, 3}, {time.Second, 2, 4}}},
		"at most":       {10 * time.Second, 0, []step{{0, 1, 1}, {time.Second, 2, 1}, {time.Second, 3, 1}, {9 * time.Second, 3, 2}, {time.Second, 3, 2}}},
		"at most, then": {10 * time.Second, 0, []step{{0, 1, 1}, {time.Second, 1, 1}, {30 * time.Second, 1, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := plain()
			m.AtMostEvery, m.AtLeastEvery = c.most, c.least
			run(t, m, func(t *testing.T, w *world) {
				settle()
				for i, s := range c.steps {
					time.Sleep(s.after)
					at := time.Now()
					w.hear(1, s.content)
					settle()
					if n := w.b.devices(); n != s.want {
						t.Errorf("step %d: %d messages, want %d", i, n, s.want)
					}
					time.Sleep(time.Until(at))
				}
				w.adds(t)
			})
		})
	}
}

// A change that came too soon is published as soon as it may be, though the device is not heard again.
func TestHeldBack(t *testing.T) {
	t.Parallel()
	m := plain()
	m.AtMostEvery = 10 * time.Second
	run(t, m, func(t *testing.T, w *world) {
		settle()
		for i := range 5 {
			w.hear(1, 1, byte(i))
			w.hear(2, 1, byte(i))
		}
		settle()
		if st := w.adds(t); w.b.devices() != 2 || st.Queued != 2 {
			t.Errorf("%q, %+v", w.b.topics(), st)
		}
		time.Sleep(11 * time.Second)
		settle()
		if p, _ := w.b.last(t, "air/device/000000000002"); w.b.devices() != 4 || field(t, p, "raw") != "0104" {
			t.Errorf("%q, %s", w.b.topics(), p)
		}
		w.adds(t)
	})
}

// A crowd of addresses does not make the intake grow without bound.
func TestCrowd(t *testing.T) {
	t.Parallel()
	in := newIntake(newFilter(config.StreamFilter{}), time.Second, time.Second, 100, 50)
	for i := range 10_000 {
		in.adverts(time.Now(), []ble.RawAdvert{{Address: ble.Address(i), Data: make([]byte, 100)}})
	}
	if len(in.devices) > 50 || len(in.former) > 50 || len(in.queue.ring) > 100 {
		t.Errorf("%d and %d devices, %d records", len(in.devices), len(in.former), len(in.queue.ring))
	}
	if offered, dropped, queued := in.counts(); offered != dropped+uint64(queued) || queued != 100 {
		t.Errorf("%d offered, %d dropped, %d queued", offered, dropped, queued)
	}
}

// Any entry lets a device pass, with all that it says from then on.
func TestFilter(t *testing.T) {
	t.Parallel()
	const named, ruuvi, home, by128 = "\x06\x09Ruuvi", "\x04\xff\x99\x04\x05", "\x04\x16\xd2\xfc\x40", "\x11\x07\xfb\x34\x9b\x5f\x80\x00\x00\x80\x00\x10\x00\x00\xd2\xfc\x00\x00"
	for name, c := range map[string]struct {
		f    config.StreamFilter
		data string
		want bool
	}{
		"none":            {config.StreamFilter{}, "", true},
		"address":         {config.StreamFilter{Addresses: []ble.Address{7}}, "", true},
		"another address": {config.StreamFilter{Addresses: []ble.Address{8}}, "", false},
		"company":         {config.StreamFilter{Companies: []uint16{0x499}}, ruuvi, true},
		"another company": {config.StreamFilter{Companies: []uint16{0x4c}}, ruuvi, false},
		"service data":    {config.StreamFilter{UUIDs: []ble.UUID{ble.UUID16(0xfcd2)}}, home, true},
		"listed service":  {config.StreamFilter{UUIDs: []ble.UUID{ble.UUID16(0xfcd2)}}, by128, true},
		"another service": {config.StreamFilter{UUIDs: []ble.UUID{ble.UUID16(0x180f)}}, home, false},
		"name":            {config.StreamFilter{Names: []string{"R*vi"}}, named, true},
		"another name":    {config.StreamFilter{Names: []string{"ruuvi"}}, named, false},
		"either":          {config.StreamFilter{Names: []string{"x"}, Companies: []uint16{0x499}}, ruuvi, true},
		"cut short":       {config.StreamFilter{Companies: []uint16{0x499}}, "\x02\xff\x99", false},
	} {
		if got := newFilter(c.f).passes(&ble.RawAdvert{Address: 7, Data: []byte(c.data)}); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	m := plain()
	m.Filter.Names = []string{"Ruuvi"}
	run(t, m, func(t *testing.T, w *world) {
		settle()
		w.hear(1, []byte(ruuvi)...)
		w.hear(2, []byte(ruuvi)...)
		w.hear(1, []byte(named)...)
		w.hear(1, []byte(ruuvi)...)
		settle()
		if n := w.b.devices(); n != 2 {
			t.Errorf("%q", w.b.topics())
		}
	})
}

func BenchmarkAdverts(b *testing.B) {
	in := newIntake(newFilter(config.StreamFilter{}), 0, time.Minute, 10000, 16384)
	batch := make([]ble.RawAdvert, 16)
	for i := range batch {
		batch[i] = ble.RawAdvert{Address: ble.Address(i), Data: make([]byte, 31)}
	}
	b.ReportAllocs()
	now, n := time.Now(), byte(0)
	for b.Loop() {
		n++
		for i := range batch {
			batch[i].Data[5] = n
		}
		in.adverts(now, batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/16, "ns/advert")
}

func BenchmarkEncode(b *testing.B) {
	for _, format := range []config.StreamFormat{config.StreamJSON, config.StreamUndecoded} {
		b.Run(string(format), func(b *testing.B) {
			m := plain()
			m.Format = format
			e := newEncoder(m, Config{
				Hearing: func(_ ble.Address, _ time.Time, out []Hearing) ([]Hearing, string) {
					return append(out, Hearing{"24:0A:C4:00:00:01", -60}, Hearing{"24:0A:C4:00:00:02", -70}, Hearing{"24:0A:C4:00:00:03", -80}), "Ruuvi 884F"
				},
				Label: func(id string) string { return id },
			})
			var r record
			r.set(1764489600123, &ble.RawAdvert{Address: 0xC1, RSSI: -60, Data: []byte("\x02\x01\x06\x1b\xff\x99\x04\x05\x12\xfc\x53\x94\xc3\x7c\x00\x04\xff\xfc\x04\x0c\xac\x36\x42\x00\xcd\xcb\xb8\x33\x4c\x88\x4f")})
			var scratch, out []byte
			emit := func(topic, payload []byte) { out = appendPublish(out[:0], topic, payload, false) }
			b.ReportAllocs()
			for b.Loop() {
				scratch = e.each(&r, scratch, emit)
			}
		})
	}
}
