package web

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/web/webtest"
)

// TestBrowser: the page shows names from the air and texts from the network as text, which has no other effect. It
// shows what the Source gives, and tells when another proxy becomes a device's owner. Every complaint of the browser, such
// as a breach of the content policy, fails the test.
func TestBrowser(t *testing.T) {
	webtest.Find(t)
	f := hostileSource()
	s := start(t, f, nil)
	p := webtest.Open(t)
	p.Look(webtest.View{Width: 1280, Height: 900})
	p.Go(s.URL())
	p.Until(fmt.Sprintf(`document.querySelectorAll("#heat tbody tr").length === %d`, len(hostile)))
	var hurt bool
	p.Eval(`window.hurt === 1 || document.querySelectorAll("#heat img, #heat script, .card svg, .card script, td td").length > 0`, &hurt)
	if hurt {
		t.Error("a hostile name took effect")
	}
	for i, name := range hostile[:3] {
		var got string
		p.Eval(fmt.Sprintf(`[...document.querySelectorAll("th.dev button")].find(b => b.textContent.includes("00:00:00:00:00:%02X")).querySelector(".name").textContent`, i+1), &got)
		if got != name {
			t.Errorf("the name %q is shown as %q", name, got)
		}
	}
	var slot string // it names the hosts that use it, and does not name D-Bus
	p.Eval(`document.querySelector(".slots .connected").textContent`, &slot)
	if want := text(hostile[0]) + " · " + text(hostile[3]); slot != want {
		t.Errorf("the slot says %q, want %q", slot, want)
	}
	var controllers []string
	p.Eval(`[...document.querySelectorAll("#controllers li")].map(l => l.textContent)`, &controllers)
	want := []string{
		"controller vhci (02:E5:50:00:00:01): a host for 2 min, scans passively, 1 link, connecting, 6 adverts lost: the host reads too slowly",
		"controller " + hostile[0] + " (00:00:00:00:00:00): no host, its host sent what is no Bluetooth traffic",
	}
	if !slices.Equal(controllers, want) {
		t.Errorf("controllers %q, want %q", controllers, want)
	}
	line := func() (s string) {
		p.Eval(`document.getElementById("stream").innerText`, &s)
		return s
	}
	if got, want := line(), "stream to mqtt://broker:1883 (home/"+hostile[0]+"): connected, 1000 published, 3 lost, 1 refused, 7 waiting"; got != want {
		t.Errorf("the stream says %q, want %q", got, want)
	}
	stream := func(s Stream) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.stream = &s
	}
	stream(Stream{State: "waiting", Broker: "mqtt://broker:1883", Topic: "t", Dropped: 5, Queued: 9, Remark: "connection refused"})
	p.Until(`document.querySelector("#stream .bad")`)
	if got, want := line(), "stream to mqtt://broker:1883 (t): waiting, 0 published, 5 lost, 9 waiting, the broker: connection refused"; got != want {
		t.Errorf("the stream says %q, want %q", got, want)
	}
	stream(Stream{})
	p.Until(`document.getElementById("stream").hidden && document.getElementById("stream").children.length === 0`)
	var cards []string
	p.Eval(`[...document.querySelectorAll(".card")].map(c => c.innerText)`, &cards)
	if len(cards) != 3 {
		t.Fatalf("%d proxies are shown", len(cards))
	}

	// The filter, and what the cells say.
	p.Eval(`{const i = document.getElementById("filter"); i.value = "proxy"; i.dispatchEvent(new Event("input"))}`, nil)
	p.Until(`document.querySelectorAll("#heat tbody tr").length === 1`)
	p.Eval(`{const i = document.getElementById("filter"); i.value = ""; i.dispatchEvent(new Event("input"))}`, nil)
	p.Until(`document.querySelector("td span.owner").textContent === "−60 ★"`)

	// Another proxy becomes the device's owner.
	f.mu.Lock()
	now := time.Now()
	f.devices = append([]Device(nil), f.devices...)
	f.devices[0].Sources = []ble.Source{{Proxy: "kitchen", RSSI: -80, LastHeard: now}, {Proxy: hostile[0], RSSI: -50, LastHeard: now, Owner: true}}
	f.mu.Unlock()
	p.Until(`document.querySelectorAll("#switches li").length === 1`)
	var told string
	p.Eval(`document.querySelector("#switches li").textContent`, &told)
	if want := hostile[0] + ": kitchen → " + hostile[0]; !strings.HasSuffix(told, want) {
		t.Errorf("the switch is told as %q", told)
	}

	// Twenty proxies and as many devices as a snapshot has, on a phone: the page stays as wide as the screen, and shows
	// the trouble.
	f.mu.Lock()
	f.proxies, f.devices, f.ready = nil, nil, errTest
	f.air.Devices = 3 * maxDevices
	for i := range 20 {
		f.proxies = append(f.proxies, Proxy{Name: fmt.Sprint("proxy-with-a-long-name-", i), State: "online", SlotsKnown: true, SlotLimit: 3, SlotFree: 3})
	}
	for i := range 2 * maxDevices {
		d := Device{Address: ble.Address(i + 100), Name: fmt.Sprint("Device ", i), LastHeard: now}
		for j := range 4 {
			d.Sources = append(d.Sources, ble.Source{Proxy: f.proxies[(i+j)%20].Name, RSSI: int8(-40 - 10*j), LastHeard: now, Owner: j == 0})
		}
		f.devices = append(f.devices, d)
	}
	f.mu.Unlock()
	p.Look(webtest.View{Width: 390, Height: 800, Mobile: true})
	p.Until(fmt.Sprintf(`document.querySelectorAll("#heat tbody tr").length === %d`, maxDevices))
	p.Until(`document.documentElement.scrollWidth <= 390`)
	p.Until(`document.getElementById("down").textContent === ""`)
	p.Until(`document.getElementById("trouble").textContent === "not at work" && !document.getElementById("more").hidden`)
}
