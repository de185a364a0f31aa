package share

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/proxysim"
	"bluez-esphome/internal/status"
)

const merged = ", offer: merged"

// TestMergedHosts: ESPHome's client library and Home Assistant's Bluetooth stack use all proxies as one, while bleak
// uses another device.
func TestMergedHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, merged, "hall", "attic")
	bus, end, busOut := w.python(t, "bus_client.py")
	eventually(t, "bleak is connected", func() bool { return strings.Contains(busOut.String(), "connected") })
	host, _, out := w.python(t, "host_client.py", "127.0.0.1", fmt.Sprint(w.port), key, "all-proxies", realMAC(0).String(), "5")
	if err := host.Wait(); err != nil {
		t.Errorf("the host's checks failed: %v\n%s", err, out)
	}
	_ = end.Close()
	if err := bus.Wait(); err != nil {
		t.Errorf("the program on D-Bus failed: %v\n%s", err, busOut)
	}
}

// TestMerged: all proxies as one are there while any is, with the slots of those that are; links take the best way and
// survive the loss of other proxies; each advertisement comes once.
func TestMerged(t *testing.T) {
	t.Parallel()
	// The first of them hears everything better; nobody scans actively, so that the payloads stay the same.
	w := newWorldOf(t, setup{share: merged, proxy: func(c *proxysim.ProxyConfig) { c.ScanPassive = true }}, "kitchen", "garage")
	kitchen, garage := w.sim.Proxy("kitchen"), w.sim.Proxy("garage")
	h := w.host(t, w.port, key, "host")
	up := h.want(fields{"ev": "up"})
	for what, mac := range map[string]any{"MAC": up["mac"], "radio": up["radio"]} {
		a := parse(t, fmt.Sprint(mac))
		if a>>40&3 != 2 {
			t.Errorf("%s %v is not made up", what, mac)
		}
	}
	if up["mac"] == up["radio"] || up["name"] != "all-proxies-shared" || up["flags"] != float64(0xff) || up["version"] != proxysim.DefaultVersion {
		t.Errorf("it says of itself %v", up)
	}
	h.do("slots", nil)
	h.slots(6, 6)
	h.do("listen", nil)
	h.want(fields{"ev": "scanner", "mode": "PASSIVE", "state": "RUNNING"})

	// Pulse advertises every 200 ms, and both proxies hear it. The merged air has each advertisement once.
	eventually(t, "the kitchen owns it", func() bool {
		for _, d := range w.daemon.Heard() {
			if d.Address == parse(t, pulse) && len(d.Sources) == 2 {
				return d.Sources[0].Owner && d.Sources[0].Proxy == "kitchen" || d.Sources[1].Owner && d.Sources[1].Proxy == "kitchen"
			}
		}
		return false
	})
	began := time.Now()
	h.do("adverts", fields{"address": pulse}) // drop the events so far
	h.want(fields{"ev": "adverts"})
	<-time.After(3 * time.Second)
	h.do("adverts", fields{"address": pulse})
	list := h.want(fields{"ev": "adverts"})["list"].([]any)
	for _, a := range list {
		if rssi := a.([]any)[1].(float64); rssi < -60 {
			t.Errorf("heard with %v dBm, as by the garage", rssi)
		}
	}
	if once := int(time.Since(began) / (200 * time.Millisecond)); len(list) < 3 || len(list) > once+once/2 {
		t.Errorf("%d advertisements while there were %d", len(list), once)
	}

	// The link takes the best proxy, and no other.
	h.connect(pulse, random)
	h.slots(5, 6, pulse)
	if k, g := kitchen.Slots().Free, garage.Slots().Free; k != 2 || g != 3 {
		t.Errorf("free slots: kitchen %d, garage %d", k, g)
	}
	garage.Restart(time.Hour)
	h.slots(2, 3, pulse)
	if got := h.read(pulse, greeting); got != "68656c6c6f" {
		t.Errorf("after the loss of another proxy: %s", got)
	}
	r, err := status.Ask(t.Context(), w.bus.Address)
	if err != nil || len(r.Shared) != 1 || r.Shared[0].Proxy != "" || len(r.Shared[0].Hosts) != 1 || r.Shared[0].Hosts[0].Batches == 0 {
		t.Errorf("status: %+v, %v", r, err)
	}

	// While no proxy is online, none is shared. The shared proxy is there again with the first proxy that comes back.
	kitchen.Restart(time.Second)
	h.want(fields{"ev": "lost"})
	var again *remote
	eventually(t, "it is back", func() bool {
		again = w.host(t, w.port, key, "again")
		return again.want(fields{}).has(fields{"ev": "up"})
	})
	again.do("slots", nil)
	again.slots(3, 3)
}

// TestMergedMode: the scan mode that a host sets on the merged proxy is set on every proxy.
func TestMergedMode(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, setup{share: merged, proxy: func(c *proxysim.ProxyConfig) { c.ScanPassive = true }}, "hall", "attic")
	h := w.connected(t, w.port, key, "host")
	h.do("listen", nil)
	h.want(fields{"ev": "scanner", "mode": "PASSIVE", "state": "RUNNING"})
	for _, m := range []string{"active", "passive"} {
		h.do("mode", fields{"mode": m})
		h.want(fields{"ev": "scanner", "mode": strings.ToUpper(m), "state": "RUNNING"})
		for _, p := range w.sim.Proxies() {
			eventually(t, p.Name()+" scans as is wished", func() bool { return p.ScanMode().String() == m })
		}
	}
}

// TestReload: a reload changes how the proxies are shared; sessions that can go on do.
func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "hall", "attic")
	stays := w.connected(t, w.port, key, "stays")
	stays.connect(pulse, random)

	w.daemon.Reload(w.config(t, strings.Replace(w.yaml, "listen:", "in_use: refuse, listen:", 1)))
	second := w.connected(t, w.port+1, key, "second")
	second.do("connect", fields{"address": pulse, "type": random})
	second.want(fields{"ev": "link", "address": pulse, "up": false, "error": 0x85})
	if got := stays.read(pulse, greeting); got != "68656c6c6f" {
		t.Errorf("the first host reads %s", got)
	}

	w.daemon.Reload(w.config(t, strings.Replace(w.yaml, "listen:", "offer: merged, listen:", 1)))
	stays.want(fields{"ev": "lost"})
	var all *remote
	eventually(t, "all are offered as one", func() bool {
		all = w.host(t, w.port, key, "all")
		return all.want(fields{}).has(fields{"ev": "up", "name": "all-proxies-shared"})
	})
	all.do("slots", nil)
	all.slots(6, 6)

	w.daemon.Reload(w.config(t, strings.Replace(w.yaml, "127.0.0.1", `""`, 1)))
	all.want(fields{"ev": "lost"})
	eventually(t, "status tells of nothing shared", func() bool {
		r, err := status.Ask(t.Context(), w.bus.Address)
		return err == nil && len(r.Shared) == 0
	})
	w.daemon.Reload(w.config(t, w.yaml))
	eventually(t, "they are shared as before", func() bool {
		return w.host(t, w.port+1, key, "again").want(fields{}).has(fields{"ev": "up", "name": "attic-shared"})
	})
}
