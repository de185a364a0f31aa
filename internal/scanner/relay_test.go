package scanner

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"bluez-esphome/internal/ble"
)

// relay hears and gives what goes into the merged air, as "payload@rssi".
func (a *air) relay(seconds float64, proxy string, addr ble.Address, rssi int8, payload string) string {
	a.t.Helper()
	data, err := hex.DecodeString(payload)
	if err != nil {
		a.t.Fatal(err)
	}
	var out []string
	for _, r := range a.Relay(proxy, a.at(seconds), []ble.RawAdvert{{Address: addr, RSSI: rssi, Data: data}}, nil) {
		if r.Address != addr {
			a.t.Errorf("%s is relayed for %s", r.Address, addr)
		}
		out = append(out, fmt.Sprintf("%x@%d", r.Data, r.RSSI))
	}
	return strings.Join(out, " ")
}

// The merged air is what one receiver would have heard.
func TestRelay(t *testing.T) {
	const one, two, three = "020106", "0201060302aabb", "0201060302ccdd"
	a := newAir(t, "near", "far")
	for i, c := range []struct {
		at      float64
		proxy   string
		rssi    int8
		payload string
		want    string
	}{
		{0, "near", -50, one, one + "@-50"},
		{0.1, "far", -90, one, ""},                // heard already
		{1, "near", -51, one, one + "@-51"},       // each one of the owner's
		{1.1, "far", -91, two, two + "@-51"},      // new: whoever hears it, as loud as the owner hears the device
		{1.2, "near", -52, one, ""},               // late
		{1.3, "near", -52, two, two + "@-52"},     // the owner's again
		{3.5, "far", -90, two, two + "@-52"},      // the owner hears nothing any more
		{3.6, "near", -50, three, three + "@-50"}, // and again
		{3.7, "far", -90, two, ""},
		{3.8, "far", 0, three, ""},
		{4, "unknown", -50, one, ""},
	} {
		if got := a.relay(c.at, c.proxy, dev, c.rssi, c.payload); got != c.want {
			t.Errorf("%d: %s heard %s: relayed %q, want %q", i, c.proxy, c.payload, got, c.want)
		}
	}
	a.ProxyDown("near")
	if got := a.relay(5, "far", dev, -80, three); got != three+"@-80" {
		t.Errorf("the last proxy's: %q", got)
	}
	if s := a.Stats(); s.Adverts != 11 || s.Late != 1 {
		t.Errorf("not counted like any others: %+v", s)
	}
}
