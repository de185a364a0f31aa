package overview

import (
	"slices"
	"strings"
	"testing"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/store"
	"bluez-esphome/internal/web"
)

// names gives the proxies of sources, in alphabetical order.
func names(sources []ble.Source) string {
	var out []string
	for _, s := range sources {
		out = append(out, s.Proxy)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// TestHeard: devices name the proxies that hear them as people know them, and not by their IDs.
func TestHeard(t *testing.T) {
	h := newHome(t, nil)
	heard := map[string]func() []scanner.Device{"Heard": h.Heard, "Recent": func() []scanner.Device { return h.Recent(2) }}
	for name, list := range heard {
		h.eventually(name+" has both devices with the names of their proxies", func() bool {
			got := map[ble.Address]string{}
			for _, d := range list() {
				got[d.Address] = names(d.Sources)
			}
			return len(got) == 2 && got[lamp] == "hall pantry" && got[sensor] == "hall"
		})
	}
	if got := h.Recent(1); len(got) != 1 {
		t.Errorf("Recent(1) gives %d devices", len(got))
	}
	h.eventually("the lamp has its name", func() bool { return h.NameOf(lamp) == "Lamp" })
	if got := h.NameOf(1); got != "" {
		t.Errorf("a device that nobody hears is called %q", got)
	}
}

// TestLink: while a link is up, the slot of its proxy, the details of the device and the log of connections name the
// proxy and those who hold the link.
func TestLink(t *testing.T) {
	h := newHome(t, nil)
	pantry := h.proxy("pantry")
	for _, name := range []string{"D-Bus", "friend"} {
		if _, err := h.connect(name, ""); err != nil {
			t.Fatal(err)
		}
	}
	if !h.Connected(lamp) || h.Connected(sensor) {
		t.Errorf("connected: lamp %v, sensor %v", h.Connected(lamp), h.Connected(sensor))
	}
	holders := []string{"D-Bus", "friend"}
	link := h.Links(pantry)
	if len(link) != 1 || link[0].Address != lamp || link[0].State != "connected" || link[0].Since.IsZero() || !slices.Equal(link[0].Owners, holders) {
		t.Errorf("the slots of the proxy are %+v", link)
	}
	if other := h.Links(h.proxy("hall")); len(other) != 0 {
		t.Errorf("the slots of another proxy are %+v", other)
	}
	d, ok := h.Source().Detail(lamp)
	if !ok || d.Via != "pantry" || d.Since.IsZero() || !slices.Equal(d.Owners, holders) || d.LastError != "" || !slices.Equal(d.Adapters, []int{0}) || names(d.Sources) != "hall pantry" {
		t.Errorf("the details of the lamp are %+v, %v", d, ok)
	}
	log := h.Source().Connects(5)
	if len(log) != 1 || log[0].Device != lamp || log[0].Name != "Lamp" || log[0].Proxy != "pantry" || log[0].Result != "connected" || !log[0].Ended.IsZero() {
		t.Fatalf("the log is %+v", log)
	}
	if tries := log[0].Tries; len(tries) == 0 || tries[len(tries)-1].Proxy != "pantry" || tries[len(tries)-1].Result != "connected" {
		t.Errorf("the tries are %+v", tries)
	}
	if !slices.Contains(log[0].Asked, "D-Bus") {
		t.Errorf("the link was asked for by %q", log[0].Asked)
	}
	if out := h.Source().Outcomes(); out.Connects["connected"] != 1 {
		t.Errorf("the outcomes are %+v", out)
	}
}

// TestTrouble: a Connect that fails and a link that is lost are told with the device, the proxy and the time.
func TestTrouble(t *testing.T) {
	h := newHome(t, nil)
	hall, pantry := h.proxy("hall"), h.proxy("pantry")
	if h.DeviceError(lamp) != "" || h.LinkError(pantry) != "" || len(h.Source().Troubles()) != 0 {
		t.Error("something is wrong before anything was tried")
	}
	before := h.Source().Tried()
	if _, err := h.connect("D-Bus", hall.ID()); err == nil {
		t.Fatal("a passive proxy connects")
	}
	attempts := h.DeviceConnects(lamp)
	if len(attempts) != 1 || attempts[0].Via != "hall" || attempts[0].Error == "" {
		t.Errorf("the attempts are %+v", attempts)
	}
	if got := h.DeviceError(lamp); !strings.HasSuffix(got, ": "+attempts[0].Error) || !strings.HasPrefix(got, "20") {
		t.Errorf("the lamp's error is %q, that of its Connect %q", got, attempts[0].Error)
	}
	if h.Source().Tried() == before {
		t.Error("Tried is the same after a Connect")
	}

	if _, err := h.connect("D-Bus", ""); err != nil {
		t.Fatal(err)
	}
	if err := h.air.Disconnect("lamp", 0x08); err != nil {
		t.Fatal(err)
	}
	h.eventually("the link is lost", func() bool { return !h.Connected(lamp) })
	why := h.DeviceConnects(lamp)[0].Why
	if got := h.LinkError(pantry); why == "" || !strings.HasSuffix(got, " "+lamp.String()+": "+why) {
		t.Errorf("the proxy's error is %q, the link ended by %q", got, why)
	}
	if got, troubles := h.DeviceError(lamp), h.Source().Troubles(); len(troubles) != 1 || troubles[lamp] != got || !strings.HasSuffix(got, ": "+why) {
		t.Errorf("the lamp's error is %q, the failures are %q", got, troubles)
	}
	if got := h.LinkError(hall); got != "" {
		t.Errorf("another proxy has the error %q", got)
	}
	if d, ok := h.Source().Detail(lamp); !ok || d.Via != "" || d.Owners != nil || d.LastError != h.DeviceError(lamp) {
		t.Errorf("the details of the lamp are %+v, %v", d, ok)
	}
}

// TestBonds: bonds are listed at the proxy that holds them, also by records of earlier versions, which have its name.
func TestBonds(t *testing.T) {
	h := newHome(t, nil)
	pantry, hall := h.proxy("pantry"), h.proxy("hall")
	for _, b := range []struct {
		a      ble.Address
		bonded bool
		at     string
	}{{3, true, pantry.ID()}, {1, true, "pantry"}, {2, true, hall.ID()}, {4, false, pantry.ID()}, {5, true, ""}} {
		h.store.SetDevice(b.a, store.DeviceState{Bonded: b.bonded})
		h.store.SetGatt(b.a, store.GattState{Bonded: b.at})
	}
	if got := h.Bonds(pantry); !slices.Equal(got, []ble.Address{1, 3}) {
		t.Errorf("pantry holds the bonds with %v", got)
	}
	if got := h.Bonds(hall); !slices.Equal(got, []ble.Address{2}) {
		t.Errorf("hall holds the bonds with %v", got)
	}
	if got := h.Bonds(h.proxy("shed")); len(got) != 0 {
		t.Errorf("shed holds the bonds with %v", got)
	}
	for a, want := range map[ble.Address]string{1: "pantry", 2: "hall", 3: "pantry", 5: "", 6: ""} {
		if got := h.BondHolder(a); got != want {
			t.Errorf("the bond with %v is held by %q, want %q", a, got, want)
		}
	}
	h.store.SetDevice(lamp, store.DeviceState{Bonded: true, Trusted: true, Alias: "Desk"})
	h.store.SetGatt(lamp, store.GattState{Bonded: hall.ID()})
	h.eventually("the details tell of the bond", func() bool {
		d, ok := h.Source().Detail(lamp)
		return ok && d.Bonded && d.Trusted && !d.Blocked && d.Alias == "Desk" && d.BondAt == "hall"
	})
	if d, ok := h.Source().Detail(7); ok {
		t.Errorf("details of an unknown device: %+v", d)
	}
}

// TestDevices: signals have the numbers of the proxies that are asked for, and connected devices are always listed.
func TestDevices(t *testing.T) {
	h := newHome(t, nil)
	h.eventually("both devices are heard", func() bool { return len(h.table.Sources(lamp)) == 2 && len(h.table.Sources(sensor)) == 1 })
	signals := func(proxies []web.Proxy, a ble.Address, n int) map[int]bool {
		t.Helper()
		numbers, found := map[int]bool{}, 0
		for _, d := range h.Source().Devices(nil, n, proxies) {
			if d.Address != a {
				continue
			}
			found++
			for _, s := range d.Signals {
				numbers[s.Proxy] = s.Owner
			}
		}
		if found != 1 {
			t.Errorf("%v is listed %d times", a, found)
		}
		return numbers
	}
	both := []web.Proxy{{Name: "hall"}, {Name: "pantry"}}
	h.eventually("the pantry speaks for the lamp", func() bool {
		got := signals(both, lamp, 9)
		owner, heard := got[1]
		return heard && owner && len(got) == 2 && !got[0]
	})
	if got := signals(both[1:], lamp, 9); len(got) != 1 || !got[0] {
		t.Errorf("the signals at one proxy are %v", got)
	}
	if got := signals([]web.Proxy{{Name: "nobody"}}, sensor, 9); len(got) != 0 {
		t.Errorf("the signals at an unknown proxy are %v", got)
	}
	for _, silent := range []ble.Address{lamp, 0xEE} {
		both[1].Slots = []web.Slot{{Address: sensor, State: "connecting"}, {Address: silent, State: "connected"}}
		if got := h.Source().Devices(nil, 1, both); len(got) != 1 || got[0].Address != silent {
			t.Errorf("with one device connected, the list of one is %+v", got)
		}
	}
	signals(both, 0xEE, 9)
	both[1].Slots[1].Address = lamp
	signals(both, lamp, 9)
}
