package scanner

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/ble"
)

// scenario is testdata/scenario.json.
type scenario struct {
	Duration   float64 `json:"duration_s"`
	Seed       uint64
	MaxDevices int `json:"max_devices"`
	Proxies    []struct {
		Name  string
		X, Y  float64
		Batch float64 `json:"batch_ms"` // adverts are passed on as often
	}
	Outages   []outage
	Discovery []struct {
		From float64 `json:"from_s"`
		To   float64 `json:"to_s"`
	}
	Crowd struct {
		Devices  int
		Lives    float64 `json:"lives_s"`
		Interval float64 `json:"interval_ms"`
	}
	Devices []walker
	Want    outcome
}

// outage is a time in which a proxy passes nothing on: offline, deaf or connecting.
type outage struct {
	Proxy, Kind string
	From        float64 `json:"from_s"`
	To          float64 `json:"to_s"`
}

// walker is a device that moves straight and evenly from point to point.
type walker struct {
	Address  ble.Address
	Interval float64      `json:"interval_ms"`
	Change   float64      `json:"change_every_s"`
	Path     [][3]float64 // seconds, metres, metres
}

// outcome is what a replay came to.
type outcome struct {
	Adverts  uint64 `json:"adverts"`  // that proxies passed on
	Contents int    `json:"contents"` // of the 30 devices, heard by some proxy while somebody discovered
	Lost     int    `json:"lost"`     // of those, never reported
	Late     int    `json:"late"`     // reported after a newer one: only the slow proxy had heard it
	Twice    int    `json:"twice"`    // reported again, as the slow proxy went on to the newer one
	Switches uint64 `json:"switches"` // to another owner
	Added    int    `json:"added"`    // objects on the bus, by bluetoothd's rules
	Removed  int    `json:"removed"`
	Evicted  uint64 `json:"evicted"`
	Expired  uint64 `json:"expired"`
}

// at is where the device is.
func (w *walker) at(s float64) (x, y float64) {
	for i := 1; i < len(w.Path); i++ {
		if a, b := w.Path[i-1], w.Path[i]; s <= b[0] {
			f := (s - a[0]) / (b[0] - a[0])
			return a[1] + f*(b[1]-a[1]), a[2] + f*(b[2]-a[2])
		}
	}
	last := w.Path[len(w.Path)-1]
	return last[1], last[2]
}

// A sent is one advertisement as one proxy passes it on.
type sent struct {
	at    float64 // when it is passed on
	proxy int
	raw   ble.RawAdvert
}

// broadcast makes everything that the proxies pass on, in the order in which they do: signal strength falls with
// the distance, some is not heard, and each proxy sends batches.
func (sc *scenario) broadcast() []sent {
	rnd := rand.New(rand.NewPCG(sc.Seed, 0))
	var out []sent
	advert := func(a ble.Address, x, y, s float64, data []byte) {
		for i, p := range sc.Proxies {
			rssi := -45 - 30*math.Log10(max(1, math.Hypot(x-p.X, y-p.Y))) + rnd.Float64()*8 - 4
			lost := rnd.Float64() < 0.15
			if rssi < -84 || lost || sc.silent(p.Name, s) {
				continue
			}
			batch := p.Batch / 1000
			out = append(out, sent{
				at: (math.Floor(s/batch) + 1) * batch, proxy: i,
				raw: ble.RawAdvert{Address: a, Type: ble.Random, RSSI: int8(rssi), Data: data},
			})
		}
	}
	for n := range sc.Devices {
		w := &sc.Devices[n]
		for s := rnd.Float64(); s < sc.Duration; s += w.Interval/1000 + rnd.Float64()*0.01 {
			x, y := w.at(s)
			advert(w.Address, x, y, s, content16(uint16(s/w.Change)))
		}
	}
	for n := range sc.Crowd.Devices {
		for born := -rnd.Float64() * sc.Crowd.Lives; born < sc.Duration; born += sc.Crowd.Lives {
			a := ble.Address(rnd.Uint64()&0x3fffffffffff | 0x400000000000) // resolvable private
			x, y := rnd.Float64()*30-4, rnd.Float64()*18-3
			for s := max(0, born); s < min(born+sc.Crowd.Lives, sc.Duration); s += sc.Crowd.Interval/1000 + rnd.Float64()*0.01 {
				advert(a, x, y, s, content16(uint16(n)))
			}
		}
	}
	slices.SortStableFunc(out, func(a, b sent) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.proxy, b.proxy)) })
	return out
}

// content16 is flags, a name and a number.
func content16(n uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{2, 1, 6, 3, 9, 'W', 'k', 5, 0xff, 0xff, 0xff}, n)
}

func (sc *scenario) silent(proxy string, s float64) bool {
	return slices.ContainsFunc(sc.Outages, func(o outage) bool {
		return o.Proxy == proxy && s >= o.From && s < o.To
	})
}

func (sc *scenario) discovers(s float64) bool {
	for _, d := range sc.Discovery {
		if s >= d.From && s < d.To {
			return true
		}
	}
	return false
}

// TestScenario replays ten minutes in a house: nothing that changed is lost, devices that are there stay, and source
// switches and the coming and going of objects are as counted before, always the same.
func TestScenario(t *testing.T) {
	b, err := os.ReadFile("testdata/scenario.json")
	if err != nil {
		t.Fatal(err)
	}
	var sc scenario
	if err := json.Unmarshal(b, &sc); err != nil {
		t.Fatal(err)
	}
	if len(sc.Proxies) != 3 || len(sc.Devices) != 30 {
		t.Fatalf("%d proxies, %d devices", len(sc.Proxies), len(sc.Devices))
	}
	var outcomes [2]outcome
	began := time.Now()
	for i := range outcomes {
		synctest.Test(t, func(t *testing.T) {
			table := New(Config{MaxDevices: sc.MaxDevices})
			defer table.Close()
			r := &player{
				t: t, sc: &sc, table: table, start: time.Now(),
				heard: map[ble.Address]map[uint16]int{}, reported: map[ble.Address]map[uint16]int{}, newest: map[ble.Address]int{},
				objects: map[ble.Address]time.Time{}, lastHeard: map[ble.Address]time.Time{},
			}
			outcomes[i] = r.run()
		})
	}
	speed := 2 * sc.Duration / time.Since(began).Seconds()
	if d := gocmp.Diff(outcomes[0], outcomes[1]); d != "" {
		t.Errorf("two replays differ: %s", d)
	}
	if d := gocmp.Diff(sc.Want, outcomes[0]); d != "" {
		t.Errorf("the outcome changed; if that is meant, change the file: %s", d)
	}
	if outcomes[0].Lost != 0 {
		t.Errorf("%d of %d contents were lost", outcomes[0].Lost, outcomes[0].Contents)
	}
	t.Logf("replayed at %.0f times real time: %+v", speed, outcomes[0])
}
