package share

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// newMerged is a bench that shares nothing but all proxies as one, of which there are none yet.
func newMerged(t *testing.T) (*bench, *Merged) {
	t.Helper()
	b := newBench(t)
	b.p.Down()
	cfg := b.s.cfg
	b.s.Close()
	b.s = New(cfg)
	t.Cleanup(b.s.Close)
	return b, NewMerged(b.s)
}

func (m *Merged) join(t *testing.T, info Info) *Member {
	t.Helper()
	mb, err := m.Up(info)
	if err != nil {
		t.Fatal(err)
	}
	return mb
}

func deviceInfo(b *bench) *apipb.DeviceInfoResponse {
	b.t.Helper()
	c := b.dial(&apipb.DeviceInfoRequest{})
	return want[*apipb.DeviceInfoResponse](c)
}

// What all proxies can do is what any of them can; a host that does not know it yet is made to ask again, unless it
// holds links.
func TestMergedFeatures(t *testing.T) {
	b, m := newMerged(t)
	old := Info{Name: "old", MAC: "24:6F:28:00:00:09", Version: "2025.12.3", APIMinor: 14, Features: ble.FeaturePassiveScan | ble.FeatureRawAdvertisements}
	m.join(t, old)
	first := deviceInfo(b)
	if got := ble.Features(first.GetBluetoothProxyFeatureFlags()); got != old.Features || first.GetEsphomeVersion() != old.Version {
		t.Errorf("the first: %v", first)
	}
	c := b.subscriber0(t)
	m.join(t, testInfo)
	for {
		if _, _, err := c.f.Read(); err != nil {
			break // it is to come back
		}
	}
	both := deviceInfo(b)
	if got := ble.Features(both.GetBluetoothProxyFeatureFlags()); got != 0xff || both.GetEsphomeVersion() != testInfo.Version {
		t.Errorf("both: %v", both)
	}
	for _, f := range []func(*apipb.DeviceInfoResponse) string{
		(*apipb.DeviceInfoResponse).GetName, (*apipb.DeviceInfoResponse).GetMacAddress, (*apipb.DeviceInfoResponse).GetBluetoothMacAddress,
	} {
		if f(first) != f(both) || f(both) == "" {
			t.Errorf("%q became %q", f(first), f(both))
		}
	}
	if first.GetName() != "all-proxies-shared" {
		t.Errorf("name %q", first.GetName())
	}
	// Less than it can do already changes nothing.
	stays := b.dial()
	m.join(t, old)
	stays.answers()
}

// A further daemon on the way makes daemons come back at once, of which one may be that daemon. Other hosts do not care.
func TestMergedLoop(t *testing.T) {
	b, m := newMerged(t)
	m.join(t, testInfo)
	other, idle := b.dialAs("Home Assistant", connect1), b.dialAs("Home Assistant")
	idle.answers()
	want[*apipb.BluetoothDeviceConnectionResponse](other)
	further := testInfo
	for i := range maxBreaks {
		daemon := b.dialAs("bluez-esphome 1.1.0", connect1)
		want[*apipb.BluetoothDeviceConnectionResponse](daemon)
		further.Via = []string{fmt.Sprint("02:00:00:00:00:07 attic", i)}
		m.join(t, further)
		daemon.ends()
	}
	// This goes on and on: now their links are worth more, and they come back when these have ended.
	daemon := b.dialAs("bluez-esphome 1.1.0", connect1)
	want[*apipb.BluetoothDeviceConnectionResponse](daemon)
	further.Via = []string{"02:00:00:00:00:07 barn"}
	m.join(t, further)
	for _, c := range []*client{daemon, other, idle} {
		c.answers()
	}
	for _, c := range []*client{daemon, other} {
		c.send(disconnect1)
	}
	daemon.ends()
	other.answers()
	m.breaks[0] = m.breaks[0].Add(-time.Hour)
	if !m.mayBreak(time.Now()) || m.mayBreak(time.Now()) {
		t.Error("after an hour links are to be ended for one loop more")
	}
}

// The request for a link to device1, and that for its end.
var (
	connect1 = &apipb.BluetoothDeviceRequest{Address: uint64(device1), HasAddressType: true, AddressType: 1,
		RequestType: apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE}
	disconnect1 = &apipb.BluetoothDeviceRequest{Address: uint64(device1), RequestType: apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_DISCONNECT}
)

// answers wants the session to go on.
func (c *client) answers() {
	c.t.Helper()
	c.send(&apipb.PingRequest{})
	want[*apipb.PingResponse](c)
}

// ends wants the session to end.
func (c *client) ends() {
	c.t.Helper()
	for {
		if _, _, err := c.f.Read(); errors.Is(err, os.ErrDeadlineExceeded) {
			c.t.Fatal("its session goes on")
		} else if err != nil {
			return
		}
	}
}

// One daemon less on the way makes daemons come back, which tell those behind them, of which it may be one that refused what
// came from itself: when they hold no link any more. Other hosts do not care.
func TestMergedLoopIsOver(t *testing.T) {
	for name, less := range map[string]func(*testing.T, *Merged, Info){
		"it is used no more":          func(_ *testing.T, m *Merged, of Info) { m.Forget(of.ID) },
		"it comes through fewer ones": func(t *testing.T, m *Merged, of Info) { of.Via = of.Via[:1]; m.join(t, of) },
	} {
		t.Run(name, func(t *testing.T) {
			b, m := newMerged(t)
			m.join(t, testInfo)
			behind := testInfo
			behind.ID, behind.Via = "behind", []string{"02:00:00:00:00:07 attic", "02:00:00:00:00:08 barn"}
			member := m.join(t, behind)
			idle, other := b.dialAs("bluez-esphome 1.1.0"), b.dialAs("Home Assistant")
			busy := b.dialAs("bluez-esphome 1.2.0", connect1)
			want[*apipb.BluetoothDeviceConnectionResponse](busy)
			for _, c := range []*client{idle, other} { // they are open, not only greeted
				c.answers()
			}
			member.Down()
			less(t, m, behind)
			idle.ends()
			for _, c := range []*client{busy, other} {
				c.answers()
			}
			busy.send(disconnect1)
			busy.ends()
			other.answers()
		})
	}
}

// What the proxies come through is told as long as they are used, also while they are offline.
func TestMergedForgets(t *testing.T) {
	b, m := newMerged(t)
	m.join(t, testInfo)
	told := func(want ...string) {
		t.Helper()
		c := b.dial(&apipb.DeviceInfoRequest{})
		var got []string
		for got == nil {
			id, payload, err := c.f.Read()
			if err != nil {
				t.Fatal(err)
			}
			if id == apiwire.DeviceInfoResponse {
				got = apiwire.Via(payload)
			}
		}
		if len(got) == 0 || !slices.Equal(got[1:], want) {
			t.Errorf("it comes through %q, want its daemon and %q", got, want)
		}
	}
	told()
	attic, barn := "02:00:00:00:00:07 attic", "02:00:00:00:00:08 barn"
	one, two := testInfo, testInfo
	one.ID, one.Via = "one", []string{attic, b.s.cfg.Installation.String() + " here"}
	two.ID, two.Via = "two", []string{attic, barn}
	member := m.join(t, one)
	told(attic)
	m.join(t, two)
	member.Down()
	told(attic, barn)
	m.Forget("two")
	told(attic)
	m.Forget("one")
	told()
}

// subscriber0 is a subscriber of a proxy whose scanner is not known.
func (b *bench) subscriber0(t *testing.T) *client {
	t.Helper()
	c := b.dial(&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1}, &apipb.PingRequest{})
	want[*apipb.PingResponse](c)
	return c
}

// Slots add up, scanners count as one, and with the last proxy the device goes.
func TestMergedMembers(t *testing.T) {
	b, m := newMerged(t)
	one, two := m.join(t, testInfo), m.join(t, testInfo)
	c := b.dial(subscribe, &apipb.SubscribeBluetoothConnectionsFreeRequest{})
	slots := func(free, limit uint32) {
		t.Helper()
		if s := want[*apipb.BluetoothConnectionsFreeResponse](c); s.GetFree() != free || s.GetLimit() != limit {
			t.Errorf("slots %v, want %d of %d", s, free, limit)
		}
	}
	slots(0, 0)
	one.Slots(ble.Slots{Known: true, Free: 2, Limit: 3, HasAllocated: true, Allocated: []ble.Address{9}})
	slots(2, 3) // one is another's
	two.Slots(ble.Slots{Known: true, Free: 3, Limit: 3})
	slots(5, 6)

	scans := func(state apipb.BluetoothScannerState, mode apipb.BluetoothScannerMode) {
		t.Helper()
		if s := want[*apipb.BluetoothScannerStateResponse](c); s.GetState() != state || s.GetMode() != mode {
			t.Errorf("scanner %v, want %v %v", s, state, mode)
		}
	}
	const running, stopped = apipb.BluetoothScannerState(ble.ScannerRunning), apipb.BluetoothScannerState(ble.ScannerStopped)
	one.Scanner(ble.ScannerStopped, ble.ScanPassive, ble.ScanPassive)
	scans(stopped, 0)
	two.Scanner(ble.ScannerRunning, ble.ScanPassive, ble.ScanPassive)
	scans(running, 0)
	one.Scanner(ble.ScannerRunning, ble.ScanPassive, ble.ScanPassive) // nothing new: not told
	one.Scanner(ble.ScannerStopped, ble.ScanPassive, ble.ScanPassive)
	one.Scanner(ble.ScannerRunning, ble.ScanActive, ble.ScanPassive)
	scans(running, 1)
	one.Down()
	scans(running, 0)
	slots(3, 3)
	c.send(&apipb.BluetoothScannerSetModeRequest{Mode: 1})
	if name := <-b.modes; name != "" || !two.WantsActive() {
		t.Errorf("mode of %q, active %v", name, two.WantsActive())
	}
	m.Adverts(batch(7, 1))
	if a := want[*apipb.BluetoothLERawAdvertisementsResponse](c); len(a.GetAdvertisements()) != 1 {
		t.Errorf("got %v", a)
	}
	// A link takes whichever way is best, and a bond is wherever it is.
	request := func(typ apipb.BluetoothDeviceRequestType) proto.Message {
		return &apipb.BluetoothDeviceRequest{Address: uint64(device1), HasAddressType: true, AddressType: 1, RequestType: typ}
	}
	c.send(request(apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE))
	want[*apipb.BluetoothDeviceConnectionResponse](c)
	c.send(request(apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_UNPAIR))
	want[*apipb.BluetoothDeviceUnpairingResponse](c)
	b.mu.Lock()
	links := b.links[len(b.links)-1]
	b.mu.Unlock()
	if got := links.Kept(); !slices.Contains(got, "Connect") || !slices.Contains(got, "Unpair") {
		t.Errorf("asked of the links: %q", got)
	}
	two.Down()
	for {
		if _, _, err := c.f.Read(); err != nil {
			break
		}
	}
	if st := b.s.Status(); len(st) != 0 {
		t.Errorf("still shared: %+v", st)
	}
	m.Adverts(batch(8, 1)) // to nobody
	m.join(t, testInfo)
	b.dial()
}

func TestNewer(t *testing.T) {
	for _, c := range []struct {
		a, b Info
		want bool
	}{
		{Info{Version: "2026.10.0"}, Info{Version: "2026.9.1"}, true},
		{Info{Version: "2026.9.1"}, Info{Version: "2026.10.0"}, false},
		{Info{Version: "2026.9.1"}, Info{Version: "2026.9.1"}, false},
		{Info{Version: "2025.1.0", APIMinor: 9}, Info{Version: "2026.1.0", APIMinor: 8}, true},
		{Info{Version: "dev"}, Info{Version: "2026.1.0"}, false},
	} {
		if got := newer(c.a, c.b); got != c.want {
			t.Errorf("%v newer than %v: %v", c.a.Version, c.b.Version, got)
		}
	}
}
