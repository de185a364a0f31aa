package connections

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

// firmwares are the versions that differ in how connections are made and end (proxysim has the facts, measured on
// 2026.6.5 and 2026.10.0).
var firmwares = []string{"2024.10.3", "2025.11.2", "2026.6.5", "2026.7.4", "2026.8.2", "2026.9.1", "2026.10.0"}

// byDay are the versions that make test plays: the last one that cannot cancel an attempt, and the current one.
var byDay = []string{"2026.7.4", "2026.10.0"}

const firmwareHeading = `
## By firmware version

Two proxies of the same version, north and south; each device is asked for by one program, one situation after the other. Times run from
the call to the value that is read, unless the remark says otherwise. Proxies of ESPHome up to 2026.7 cannot take back an attempt: whoever
asks next waits until their Bluetooth stack gives it up, 20 s after it began. 2026.8 and 2026.9 give it up after 10 s, 2026.10 at once.

`

// The devices of a firmware's world.
var (
	near  = sensor(0, "north", "south")
	small = func() proxysim.DeviceSpec { d := sensor(1, "north"); d.MTU = 50; return d }()
	large = sensor(2, "north")
	gone  = sensor(3, "north")
	moved = sensor(4, "north", "south")
	// Each has five or forty services; those that are "known" have a Database Hash.
	fiveListed, fiveKnown   = sized(5, 5, false), sized(6, 5, true)
	fortyListed, fortyKnown = sized(7, 40, false), sized(8, 40, true)
)

// sized is a sensor with that number of services. With hash, one of them has a Database Hash, by which the daemon knows
// its database again.
func sized(n, services int, hash bool) proxysim.DeviceSpec {
	d := sensor(n, "north")
	if hash {
		d.GATT.Services = append(d.GATT.Services, proxysim.ServiceSpec{UUID: ble.UUID16(0x1801), Characteristics: []proxysim.CharSpec{
			{UUID: ble.UUIDDatabaseHash, Properties: []string{"read"}, Value: []byte("0123456789abcdef")}}})
	}
	for i := len(d.GATT.Services); i < services; i++ {
		d.GATT.Services = append(d.GATT.Services, proxysim.ServiceSpec{UUID: ble.UUID{0: 0xb1, 15: byte(i)}, Characteristics: []proxysim.CharSpec{
			{UUID: ble.UUID{0: 0xb2, 15: byte(i)}, Properties: []string{"read"}, Value: []byte{1}}}})
	}
	return d
}

// services connects to a device whose database the daemon has and only has to confirm. It gives the time until the
// services are resolved.
func services(d proxysim.DeviceSpec) func(w *world) string {
	return func(w *world) string {
		w.timed(d)
		w.timed(d) // the daemon reads the hash a moment after it has reported the services: by now it has it
		begun := time.Now()
		w.link(devicePath(d))
		took := time.Since(begun)
		w.leave(d)
		return fmt.Sprintf("%d ms", took.Milliseconds())
	}
}

// A situation is one line of the table: it gives its cell. Nightly ones wait for time-outs of firmware; make test
// leaves them out.
type situation struct {
	name, note string
	play       func(w *world) string
	nightly    bool
}

func situations() []situation {
	return []situation{
		{name: "connect", note: "the services are listed", play: func(w *world) string { return w.timed(near) }},
		{name: "connect again", note: "without Database Hash: they are listed anew", play: func(w *world) string { return w.timed(near) }},
		{name: "the device leaves; connect again", note: "from its leaving", play: func(w *world) string {
			w.link(devicePath(near))
			begun := time.Now()
			if err := w.sim.Air().Disconnect(near.ID, proxysim.ReasonRemote); err != nil {
				w.t.Error(err)
			}
			w.Until(devicePath(near), deviceIface, "Connected", false)
			w.timed(near)
			return seconds(time.Since(begun))
		}},
		{name: "MTU of a known device in a slot that had one of 247", note: "its own is 50", play: func(w *world) string {
			for range 2 { // the first time its services are listed
				w.timed(large)
				w.link(devicePath(small))
				mtu := w.Get(w.char(devicePath(small), echo), charIface, "MTU")
				if mtu.(uint16) > 50 {
					w.t.Errorf("the MTU is %v", mtu)
				}
				w.leave(small)
			}
			return "at most 50"
		}},
		{name: "out of the best proxy's reach", note: "through the other", play: func(w *world) string {
			if err := w.sim.Air().SetRSSI(moved.ID, "north", 0, false); err != nil {
				w.t.Error(err)
			}
			return w.timed(moved)
		}},
		{name: "5 services, listed", note: "no Database Hash: without the proxy's cache", play: services(fiveListed)},
		{name: "5 services, known", note: "its Database Hash is the same: with the cache", play: services(fiveKnown)},
		{name: "40 services, listed", note: "as above", play: services(fortyListed)},
		{name: "40 services, known", note: "as above", play: services(fortyKnown)},
		{nightly: true, name: "Disconnect during an attempt, and another device", note: "from the Disconnect", play: func(w *world) string {
			w.hearLast(gone)
			call := w.object(devicePath(gone)).Go(deviceIface+".Connect", 0, nil)
			eventually(w.t, "north dials", func() bool { return w.holder(gone) == "north" })
			begun := time.Now()
			w.Try(devicePath(gone), deviceIface+".Disconnect")
			<-call.Done
			for w.Try(devicePath(large), deviceIface+".Connect").Err != nil {
				if time.Since(begun) > limit {
					w.t.Error("the other device is never reached")
					return "never"
				}
			}
			took := time.Since(begun)
			w.leave(large)
			return seconds(took)
		}},
		{nightly: true, name: "nobody there", note: "until Connect says so", play: func(w *world) string {
			w.hearLast(gone)
			begun := time.Now()
			w.fails(devicePath(gone), deviceIface+".Connect", "org.bluez.Error.Failed", nil)
			took := time.Since(begun)
			if *update && took > promised+2*time.Second { // a test run may share the machine
				w.t.Errorf("Connect took %v", took)
			}
			return seconds(took)
		}},
	}
}

// air switches the advertising of a device on or off.
func (w *world) air(d proxysim.DeviceSpec, on bool) {
	if err := w.sim.Air().Advertise(d.ID, on); err != nil {
		w.t.Error(err)
	}
}

// hearLast waits until a device is heard, and then switches its advertising off: the daemon still tries to connect to
// it.
func (w *world) hearLast(d proxysim.DeviceSpec) {
	w.t.Helper()
	w.air(d, true)
	begun := uint64(time.Now().Unix())
	eventually(w.t, d.ID+" is heard", func() bool {
		for _, source := range w.Get(devicePath(d), extensionIface, "Sources").([]map[string]dbus.Variant) {
			if at, ok := source["LastHeard"].Value().(uint64); ok && at > begun {
				return true
			}
		}
		return false
	})
	w.air(d, false)
}

func (w *world) free() bool {
	for _, p := range w.sim.Proxies() {
		if s := p.Slots(); s.Free != s.Limit {
			return false
		}
	}
	return true
}

func (w *world) leave(d proxysim.DeviceSpec) {
	w.Call(devicePath(d), deviceIface+".Disconnect")
	w.Until(devicePath(d), deviceIface, "Connected", false)
}

// timed connects, reads a value and disconnects. It gives the time until the value was there.
func (w *world) timed(d proxysim.DeviceSpec) string {
	w.t.Helper()
	begun := time.Now()
	w.link(devicePath(d))
	var value []byte
	err := w.Call(w.char(devicePath(d), echo), charIface+".ReadValue", map[string]dbus.Variant{}).Store(&value)
	if err != nil || string(value) != "hello" {
		w.t.Errorf("read %q, %v", value, err)
	}
	took := time.Since(begun)
	w.leave(d)
	return seconds(took)
}

// firmwareCells are the results of each situation, by version.
type firmwareCells struct {
	mu    sync.Mutex
	cells map[string]map[string]string
}

// byFirmware plays every situation on every firmware.
func byFirmware(t *testing.T) *firmwareCells {
	f := &firmwareCells{cells: map[string]map[string]string{}}
	t.Run("firmware", func(t *testing.T) {
		for _, version := range firmwares {
			t.Run(version, func(t *testing.T) {
				t.Parallel()
				if !slices.Contains(byDay, version) && !*update {
					harness.OnlyNightly(t)
				}
				w := newWorld(t, setup{
					devices: []proxysim.DeviceSpec{near, small, large, gone, moved, fiveListed, fiveKnown, fortyListed, fortyKnown},
					proxies: []proxysim.ProxyConfig{{Name: "north", Version: version}, {Name: "south", Version: version}},
				})
				for _, s := range situations() {
					if s.nightly && !*update && !harness.Nightly() {
						continue
					}
					cell := s.play(w)
					eventually(t, "all slots are free", w.free)
					f.mu.Lock()
					if f.cells[s.name] == nil {
						f.cells[s.name] = map[string]string{}
					}
					f.cells[s.name][version] = cell
					f.mu.Unlock()
					t.Logf("%s: %s", s.name, cell)
				}
			})
		}
	})
	return f
}

// complete reports whether nothing was left out with -run.
func (f *firmwareCells) complete() bool {
	for _, s := range situations() {
		if len(f.cells[s.name]) < len(firmwares) {
			return false
		}
	}
	return true
}

// table is the part of the document that is by firmware version.
func (f *firmwareCells) table() string {
	head, rule := "| situation | remarks |", "| --- | --- |"
	for _, v := range firmwares {
		head += " " + v[:strings.LastIndexByte(v, '.')] + " |"
		rule += " ---: |"
	}
	text := firmwareHeading + head + "\n" + rule + "\n"
	for _, s := range situations() {
		text += fmt.Sprintf("| %s | %s |", s.name, s.note)
		for _, v := range firmwares {
			text += " " + f.cells[s.name][v] + " |"
		}
		text += "\n"
	}
	return text
}
