package web

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/web/webtest"
)

// houseSource has twelve proxies, one of them not online, and so many devices: device i is loudest at proxy i%12 and heard by the ten beside
// it, but for every 20th, which one proxy hears badly. The first one is connected, the second failed.
func houseSource(n int) *fakeSource {
	now := time.Now()
	f := &fakeSource{live: true, began: now, air: Air{Devices: n, Adverts: 1}, details: map[ble.Address]Detail{}}
	for i := range 12 {
		p := Proxy{Name: fmt.Sprintf("room-%02d", i), Host: fmt.Sprintf("10.0.0.%d:6053", i), State: "online", Version: "2026.10.0", ScanMode: "active",
			SlotsKnown: true, SlotLimit: 3, SlotFree: 3, Owned: n / 12, LastHeard: now}
		if i == 7 {
			p.State, p.LastError, p.LinkError = "offline", "no route to host: check its power", "2026-11-30 03:00:00 AA:00:00:00:00:02: did not answer, or out of reach (0x85)"
		}
		f.proxies = append(f.proxies, p)
	}
	for i := range n {
		d := Device{Address: ble.Address(0xaa0000000001 + uint64(i)), Name: fmt.Sprintf("Device %d", i), LastHeard: now, Connected: i == 0}
		if i == 1 {
			d.LastError = "2026-11-30 03:00:00: room-07: did not answer, or out of reach (0x85)"
		}
		for j := range 10 {
			d.Sources = append(d.Sources, ble.Source{Proxy: f.proxies[(i+j)%12].Name, RSSI: int8(-45 - 5*j), LastHeard: now, Owner: j == 0, Interval: time.Second})
		}
		if i%20 == 19 {
			d.Sources = d.Sources[:1]
			d.Sources[0].RSSI = -91
		}
		f.devices = append(f.devices, d)
		f.details[d.Address] = Detail{Type: ble.Random, Connectable: true, LastError: d.LastError, Sources: d.Sources,
			Last: &ble.Advertisement{ManufacturerData: []ble.ManufacturerData{{Company: 0x0499, Data: []byte{5, 1}}}}}
	}
	f.details[f.devices[0].Address] = Detail{Via: "room-00", Since: now.Add(-7 * time.Minute), Owners: []string{"D-Bus"}, Sources: f.devices[0].Sources}
	f.connects = []Connect{
		{At: now.Add(-time.Minute), Device: f.devices[1].Address, Name: "Device 1", Asked: []string{"D-Bus"}, Took: 20 * time.Second, Result: "no-answer", SlotWait: 2 * time.Second,
			Error: "cannot connect: room-07: did not answer, or out of reach (0x85)", Tries: []Try{{Proxy: "room-07", RSSI: -80, Took: 4 * time.Second, Result: "did not answer, or out of reach (0x85)"}}},
		{At: now.Add(-7 * time.Minute), Device: f.devices[0].Address, Name: "Device 0", Result: "connected", Proxy: "room-00", Took: time.Second, Tries: []Try{{Proxy: "room-00", RSSI: -45, Result: "connected"}}},
	}
	return f
}

// TestWalk goes through the page as somebody would who wants to know what is wrong, why a connection failed, and where a proxy is wanted.
// BLUEZ_ESPHOME_SHOTS names a folder for screenshots.
func TestWalk(t *testing.T) {
	webtest.Find(t)
	for _, n := range []int{7, 300} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			f := houseSource(n)
			s := start(t, f, nil)
			p := webtest.Open(t)
			shot := func(name string, v webtest.View) {
				p.Look(v)
				if dir := os.Getenv("BLUEZ_ESPHOME_SHOTS"); dir != "" {
					p.Screenshot(filepath.Join(dir, fmt.Sprintf("%s-%d.png", name, n)), true)
				}
			}
			desk := webtest.View{Width: 1440, Height: 900}
			p.Look(desk)
			p.Go(s.URL())
			rows := `document.querySelectorAll("#heat tbody tr").length`
			p.Until(fmt.Sprintf(`%s === %d`, rows, n))
			is := func(what, js string) {
				t.Helper()
				var ok bool
				p.Eval("Boolean("+js+")", &ok)
				if !ok {
					var html string
					p.Eval("document.body.innerText.slice(0, 3000)", &html)
					t.Errorf("not so: %s\n%s", what, html)
				}
			}
			// What is wrong now.
			is("the proxy that is offline is first", `document.querySelector(".card .pick").textContent === "room-07"`)
			is("it says why", `document.querySelector(".card .error").textContent.startsWith("no route")`)
			is("a count in red", `document.getElementById("down").textContent === "1 proxy is not online. "`)
			is("what concerns no proxy", `document.getElementById("remarks").textContent.includes("mistakes")`)
			is("the last failure through it", `document.querySelector(".card .note").textContent.includes("out of reach")`)
			// Why it failed.
			is("two calls of Connect", `document.querySelectorAll("#log > li").length === 2`)
			is("words before codes, and who asked", `document.querySelector("#log .failed").textContent.includes("did not answer, or out of reach (0x85)") && document.querySelector("#log .failed").textContent.includes("asked by D-Bus")`)
			p.Eval(`document.getElementById("log-failed").click()`, nil)
			is("only what failed", `document.querySelectorAll("#log > li").length === 1 && location.hash.includes("log=failed")`)
			p.Eval(`document.getElementById("log-all").click()`, nil)
			// Where a proxy is wanted.
			is("what a proxy is good for", `document.querySelector(".card .worth").textContent.match(/hears \d+best for \d+the only one for \d+/)`)
			if n == 300 {
				is("how many are weak", `document.getElementById("advice").textContent.startsWith("15 devices are heard by nobody better than −85")`)
				p.Eval(`document.querySelector("#advice button").click()`, nil)
				p.Until(rows + ` === 15 && location.hash.includes("only=weak")`)
				p.Eval(`{const s = document.getElementById("only"); s.value = ""; s.dispatchEvent(new Event("change"))}`, nil)
			}
			// Habits.
			p.Eval(`document.querySelector("thead th.proxy button").click()`, nil)
			p.Until(`location.hash.includes("proxy=room-00") && ` + rows + ` < ` + fmt.Sprint(n))
			p.Eval(`window.old = 1; location.reload()`, nil)
			p.Until(`!window.old && document.readyState === "complete" && document.getElementById("by")?.textContent === "room-00 ✕" && ` + rows + ` > 0 && ` + rows + ` < ` + fmt.Sprint(n))
			p.Eval(`document.getElementById("by").click()`, nil)
			p.Until(fmt.Sprintf(`%s === %d`, rows, n))
			is("one tab stop", `document.querySelectorAll('#heat tbody button[tabindex="0"]').length === 1`)
			p.Eval(`{const b = document.querySelector('#heat tbody button[tabindex="0"]'); window.before = b.closest("tr"); b.focus(); b.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowDown", bubbles: true}))}`, nil)
			is("the arrow goes to the next row", `document.activeElement === (window.before.nextElementSibling || window.before).querySelector("button")`)
			p.Eval(`getSelection().selectAllChildren(document.querySelector(".card .facts")); 0`, nil)
			// A device's panel, and back.
			choose := func(name string) {
				p.Eval(fmt.Sprintf(`[...document.querySelectorAll("th.dev button")].find(b => b.querySelector(".name").textContent === %q).click()`, name), nil)
			}
			choose("Device 0")
			p.Until(`document.getElementById("facts").textContent.includes("connected through room-00 for 7 min: a device that is connected often does not advertise")`)
			is("aria-expanded", `document.querySelectorAll('[aria-expanded="true"]').length === 1`)
			choose("Device 2")
			p.Until(`document.getElementById("facts").textContent.includes("Ruuvi Innovations Ltd. (0x0499): 0501") && document.getElementById("facts").textContent.includes("random address")`)
			p.Until(`document.querySelectorAll("#chart-key button").length === 10`)
			p.Eval(`document.querySelector("#chart-key button").click()`, nil)
			is("a line is hidden", `document.querySelector("#chart-key button").getAttribute("aria-pressed") === "false"`)
			is("text that is selected stays", `getSelection().toString().includes("adverts/s")`)
			p.Eval(`getSelection().removeAllRanges()`, nil)
			p.Until(`!document.querySelector(".card .facts").textContent.startsWith("0 ")`)
			shot("light", desk)
			shot("dark", webtest.View{Width: 1440, Height: 900, Dark: true})
			phone := webtest.View{Width: 390, Height: 800, Mobile: true, Scale: 1.5}
			shot("phone", phone)
			is("as wide as the phone", `document.documentElement.scrollWidth <= 390`)
			p.Eval(`document.getElementById("walk-begin").click()`, nil)
			p.Until(`document.querySelectorAll("#walk-list b").length === 3 && document.querySelector("#walk-list b").textContent === "−45"`)
			is("nothing else", `document.getElementById("heat").offsetParent === null`)
			shot("walk", phone)
			p.Eval(`document.getElementById("walk-end").click(); document.getElementById("close").click()`, nil)
			p.Until(`document.getElementById("detail").hidden && document.getElementById("walk").hidden`)
		})
	}
}
