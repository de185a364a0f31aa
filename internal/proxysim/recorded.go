package proxysim

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/btsnoop"
	"bluez-esphome/internal/h4"
)

// Bounds of what is taken from a capture.
const (
	maxRecorded       = 4096 // devices
	maxRecordedFrames = 64   // payloads of one
)

// recording is what a capture says of the devices in it.
type recording struct {
	proxies map[uint16]string // by the index of the adapter
	devices map[ble.Address]*recordedDevice
	links   map[recordedHandle]*recordedLink
	order   []*recordedDevice
}

// recordedHandle is a connection handle of an adapter.
type recordedHandle struct{ index, handle uint16 }

// recordedDevice is one of them.
type recordedDevice struct {
	address ble.Address
	typ     ble.AddressType
	frames  []FrameSpec
	current int // of frames, as heard last
	changes int // of the payload
	first   time.Time
	last    time.Time
	heard   map[uint16]*recordedSource
	mtu     uint16
	gatt    recordedGATT
}

// recordedSource is how one adapter heard a device.
type recordedSource struct {
	reports, rssi int // rssi: the sum
	first, last   time.Time
}

// ReadRecorded reads the peripherals of a capture in the format btsnoop, as the command capture writes them, or btmon
// or a phone: what they advertised, how loud each adapter heard them, and of those that were connected the attributes
// with the values that were read. A capture that is cut off gives what it has.
func ReadRecorded(r io.Reader) ([]DeviceSpec, error) {
	file, err := btsnoop.NewReader(r)
	if err != nil {
		return nil, err
	}
	rec := &recording{proxies: map[uint16]string{}, devices: map[ble.Address]*recordedDevice{}, links: map[recordedHandle]*recordedLink{}}
	for {
		record, err := file.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		rec.take(record)
	}
	var specs []DeviceSpec
	for _, d := range rec.order {
		spec := d.spec(rec.proxies)
		if _, err := newPeripheral(spec); err != nil {
			spec.GATT = GATTSpec{} // what was captured is no database
		}
		specs = append(specs, spec)
	}
	if len(specs) == 0 {
		return nil, errors.New("cannot play the capture: there is no Bluetooth LE device in it")
	}
	return specs, nil
}

func (rec *recording) take(r btsnoop.Record) {
	switch r.Op {
	case btsnoop.Note:
		if name, ok := strings.CutPrefix(strings.TrimRight(string(r.Data), "\x00"), btsnoop.ProxyNote); ok && len(name) <= maxNodeName {
			rec.proxies[r.Index] = name
		}
	case btsnoop.Event:
		rec.event(r)
	case btsnoop.ACLTX, btsnoop.ACLRX:
		rec.acl(r)
	}
}

func (rec *recording) device(a ble.Address, t byte) *recordedDevice {
	d := rec.devices[a]
	if d == nil && len(rec.devices) < maxRecorded {
		d = &recordedDevice{address: a, typ: ble.AddressType(t & 1), heard: map[uint16]*recordedSource{}, gatt: newRecordedGATT()}
		rec.devices[a], rec.order = d, append(rec.order, d)
	}
	return d
}

func (rec *recording) event(r btsnoop.Record) {
	if len(r.Data) < 2 {
		return
	}
	code, p := r.Data[0], r.Data[2:]
	switch {
	case code == h4.EventDisconnection && len(p) >= 3:
		delete(rec.links, recordedHandle{r.Index, le16(p[1:])})
	case code != h4.EventMeta || len(p) < 1:
	case p[0] == h4.MetaConnection && len(p) >= 12 && p[1] == 0:
		if d := rec.device(h4.AddressAt(p[6:]), p[5]); d != nil {
			rec.links[recordedHandle{r.Index, le16(p[2:])}] = &recordedLink{device: d}
		}
	case p[0] == h4.MetaAdvertisingReport && len(p) >= 2:
		rec.reports(r, p[2:], int(p[1]))
	}
}

// reports takes the reports of one event.
func (rec *recording) reports(r btsnoop.Record, p []byte, n int) {
	for ; n > 0 && len(p) >= 10; n-- {
		size := int(p[8])
		if len(p) < 10+size || size > h4.MaxLegacy {
			return
		}
		if d := rec.device(h4.AddressAt(p[2:]), p[1]); d != nil {
			d.report(r, p[0], p[9:9+size], int8(p[9+size]))
		}
		p = p[10+size:]
	}
}

func (d *recordedDevice) report(r btsnoop.Record, kind byte, data []byte, rssi int8) {
	if kind == h4.ReportScanResponse {
		if len(d.frames) > 0 {
			d.frames[d.current].RawScanResponse = slices.Clone(data)
		}
		return
	}
	if d.first.IsZero() {
		d.first = r.Time
	}
	d.last = r.Time
	s := d.heard[r.Index]
	if s == nil {
		s = &recordedSource{first: r.Time}
		d.heard[r.Index] = s
	}
	s.reports, s.rssi, s.last = s.reports+1, s.rssi+int(rssi), r.Time
	i := slices.IndexFunc(d.frames, func(f FrameSpec) bool { return slices.Equal(f.RawAdvertisement, data) })
	if i < 0 {
		if len(d.frames) >= maxRecordedFrames {
			return
		}
		i = len(d.frames)
		d.frames = append(d.frames, FrameSpec{RawAdvertisement: slices.Clone(data)})
	}
	if i != d.current {
		d.current, d.changes = i, d.changes+1
	}
}

// spec describes the device as a peripheral file does.
func (d *recordedDevice) spec(proxies map[uint16]string) DeviceSpec {
	spec := DeviceSpec{
		ID: d.address.Hex(), Address: d.address, AddressType: d.typ.String(),
		Connectable: true, MTU: d.mtu, GATT: d.gatt.spec(),
	}
	spec.Advert.IntervalMS = d.interval()
	switch len(d.frames) {
	case 0: // it was connected before the capture began
		spec.Advert.RawAdvertisement = &HexBytes{2, ble.ADFlags, 6}
	case 1:
		f := d.frames[0]
		spec.Advert.RawAdvertisement, spec.Advert.RawScanResponse = &f.RawAdvertisement, &f.RawScanResponse
	default:
		spec.Advert.Frames = d.frames
		spec.Advert.FrameEveryMS = milliseconds(d.last.Sub(d.first), d.changes)
	}
	loudest := int8(-127)
	for index, s := range d.heard {
		rssi := int8(s.rssi / s.reports)
		loudest = max(loudest, rssi)
		if name := proxies[index]; name != "" {
			if spec.RSSI == nil {
				spec.RSSI = map[string]int8{}
			}
			spec.RSSI[name] = rssi
		}
	}
	if spec.RSSI != nil {
		spec.RSSI["*"] = loudest // proxies of other names
	}
	return spec
}

// interval is the mean time between the reports of the adapter that has most of them.
func (d *recordedDevice) interval() uint32 {
	var best recordedSource
	for _, s := range d.heard {
		if s.reports > best.reports {
			best = *s
		}
	}
	return milliseconds(best.last.Sub(best.first), best.reports-1)
}

// milliseconds is a time divided by n, from 20 ms to a minute; 0, the default, where n is none.
func milliseconds(d time.Duration, n int) uint32 {
	if n <= 0 {
		return 0
	}
	return uint32(min(max(d.Milliseconds()/int64(n), minimumIntervalMS), time.Minute.Milliseconds()))
}

func le16(b []byte) uint16 { return uint16(b[0]) | uint16(b[1])<<8 }

// byHandle sorts what has a handle.
func byHandle[T any](list []T, handle func(*T) uint16) {
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(handle(&a), handle(&b)) })
}
