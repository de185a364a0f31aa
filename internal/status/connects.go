package status

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// A Connect is one call of Connect and what became of it. Durations are in milliseconds.
type Connect struct {
	At     Moment   `json:"at"`
	Device string   `json:"device"`
	Name   string   `json:"name"`
	Via    string   `json:"via"` // the only proxy that was allowed
	Asked  []string `json:"asked"`
	Tries  []Try    `json:"tries"`
	// SlotWaitMs is for how long it waited for a free connection slot, TookMs how long it took in all.
	SlotWaitMs uint64 `json:"slot_wait_ms"`
	TookMs     uint64 `json:"took_ms"`
	// Result is connected, called-off, no-answer, no-free-slot, refused, no-proxy-may, lost-at-once or other; it is ""
	// while the call is under way.
	Result string `json:"result"`
	Error  string `json:"error"`
	Link   uint64 `json:"link"` // its number in the log
	Proxy  string `json:"proxy"`
	Ended  Moment `json:"ended"` // of the link
	Why    string `json:"why"`
	Local  bool   `json:"local"` // a program or a host here ended it
	Lost   uint64 `json:"lost_notifications"`
}

// A Try is one attempt through one proxy.
type Try struct {
	Proxy  string `json:"proxy"`
	RSSI   *int16 `json:"rssi"`
	Blind  bool   `json:"blind"` // the device was not heard
	Cached bool   `json:"cached"`
	TookMs uint64 `json:"took_ms"`
	Result string `json:"result"`
}

// Heard is one device as the proxies hear it, whether or not a program discovers.
type Heard struct {
	Address     string   `json:"address"`
	AddressType string   `json:"address_type"`
	Name        string   `json:"name"`
	RSSI        *int16   `json:"rssi"`
	LastHeard   Moment   `json:"last_heard"`
	Connected   bool     `json:"connected"`
	OnBus       bool     `json:"on_bus"`
	LastError   string   `json:"last_error"`
	Sources     []Source `json:"sources"`
}

// askAir adds what the proxies hear and the last calls of Connect; a daemon of an older version does not tell them.
func (r *Report) askAir(ctx context.Context, conn *dbus.Conn) {
	if r.air == "" {
		return
	}
	const most = 1000
	var devices, connects []map[string]dbus.Variant
	air := conn.Object("org.bluez", r.air)
	if air.CallWithContext(ctx, "org.bluez_esphome.Air1.Devices", dbus.FlagNoAutoStart, uint32(most)).Store(&devices) != nil ||
		air.CallWithContext(ctx, "org.bluez_esphome.Air1.Connects", dbus.FlagNoAutoStart, uint32(most)).Store(&connects) != nil {
		return
	}
	r.takeAir(devices, connects)
}

func (r *Report) takeAir(devices, connects []map[string]dbus.Variant) {
	names, bus := map[string]string{}, map[string]bool{}
	for _, d := range r.Devices {
		bus[d.Address] = true
	}
	for _, p := range devices {
		h := Heard{
			Address: get[string](p, "Address"), AddressType: get[string](p, "AddressType"), Name: get[string](p, "Name"),
			RSSI: rssiOf(p), LastHeard: Moment(get[uint64](p, "LastHeard")), Connected: get[bool](p, "Connected"),
			LastError: get[string](p, "LastError"), Sources: []Source{},
		}
		h.OnBus = bus[h.Address]
		names[h.Address] = h.Name
		for _, s := range get[[]map[string]dbus.Variant](p, "Sources") {
			h.Sources = append(h.Sources, sourceOf(s, get[string](s, "Proxy")))
		}
		r.Heard = append(r.Heard, h)
	}
	for _, c := range connects {
		at := Connect{
			At: Moment(get[uint64](c, "At")), Device: get[string](c, "Device"), Via: get[string](c, "Via"), Asked: list(get[[]string](c, "Asked")), Tries: []Try{},
			SlotWaitMs: get[uint64](c, "SlotWaitMs"), TookMs: get[uint64](c, "TookMs"), Result: get[string](c, "Result"), Error: get[string](c, "Error"),
			Link: get[uint64](c, "Link"), Proxy: get[string](c, "Proxy"), Ended: Moment(get[uint64](c, "Ended")), Why: get[string](c, "Why"),
			Local: get[bool](c, "Local"), Lost: get[uint64](c, "Lost"),
		}
		at.Name = names[at.Device]
		for _, t := range get[[]map[string]dbus.Variant](c, "Tries") {
			at.Tries = append(at.Tries, Try{
				Proxy: get[string](t, "Proxy"), RSSI: rssiOf(t), Blind: get[bool](t, "Blind"), Cached: get[bool](t, "Cached"),
				TookMs: get[uint64](t, "TookMs"), Result: get[string](t, "Result"),
			})
		}
		r.Connects = append(r.Connects, at)
	}
}

func rssiOf(p map[string]dbus.Variant) *int16 {
	if rssi, ok := p["RSSI"].Value().(int16); ok {
		return &rssi
	}
	return nil
}

// failed reports whether no link came up, or it ended though nobody here wanted that.
func (c *Connect) failed() bool {
	return c.Error != "" && c.Result != "called-off" || c.Ended != 0 && !c.Local
}

// when is the time at which the call failed, or at which its link ended.
func (c *Connect) when() Moment {
	if c.Ended != 0 {
		return c.Ended
	}
	return c.At + Moment(c.TookMs/1000)
}

// what describes the result of the call in a sentence.
func (c *Connect) what() string {
	took, out := lasted(c.TookMs), ""
	switch {
	case c.Error != "":
		out = fmt.Sprintf("failed %s: %s", took, strings.TrimPrefix(c.Error, "cannot connect: "))
	case c.Result == "":
		out = "under way"
	case c.Ended == 0:
		out = fmt.Sprintf("connected through %s %s", c.Proxy, took)
	default:
		out = fmt.Sprintf("connected through %s %s, ended after %v: %s", c.Proxy, took,
			time.Duration(max(c.Ended, c.At)-c.At)*time.Second, c.Why)
	}
	if c.SlotWaitMs >= 100 {
		out += fmt.Sprintf("; waited %v for a slot", (time.Duration(c.SlotWaitMs) * time.Millisecond).Round(100*time.Millisecond))
	}
	if c.Lost > 0 {
		out += fmt.Sprintf("; a program lost %d notifications, which it read too slowly", c.Lost)
	}
	if len(c.Asked) > 0 {
		out += " (asked by " + strings.Join(c.Asked, ", ") + ")"
	}
	return out
}

// lasted writes a duration, to the tenth of a second.
func lasted(ms uint64) string {
	if ms < 50 {
		return "at once"
	}
	return fmt.Sprintf("after %v", (time.Duration(ms) * time.Millisecond).Round(100*time.Millisecond))
}

// what describes the result of the attempt, in words before codes.
func (t *Try) what() string {
	heard := "not heard"
	if t.RSSI != nil && !t.Blind {
		heard = fmt.Sprintf("%d dBm", *t.RSSI)
	}
	return fmt.Sprintf("%s, %s: %s %s", t.Proxy, heard, t.Result, lasted(t.TookMs))
}

// failures lists the devices whose last calls of Connect failed and that are not connected now: one line each, the
// newest first. r.Connects has the newest first, too.
func (r *Report) failures(now time.Time) (out []string) {
	const (
		lately = time.Hour
		most   = 5
	)
	type trouble struct {
		last  *Connect
		count int
	}
	by := map[string]*trouble{}
	well := map[string]bool{} // devices that were connected since they failed
	var order []string
	for i := range r.Connects {
		c := &r.Connects[i]
		if c.Result == "connected" && c.Ended == 0 {
			well[c.Device] = true
		}
		if !c.failed() || well[c.Device] || now.Sub(time.Unix(int64(c.when()), 0)) > lately {
			continue
		}
		if by[c.Device] == nil {
			by[c.Device] = &trouble{last: c}
			order = append(order, c.Device)
		}
		by[c.Device].count++
	}
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(by[b].last.when(), by[a].last.when()) })
	for i, d := range order {
		if i == most {
			out = append(out, fmt.Sprintf("%d more devices failed within the hour; bluez-esphome status --json lists them", len(order)-most))
			break
		}
		t := by[d]
		who := d
		if t.last.Name != "" {
			who = t.last.Name + " " + d
		}
		times := ""
		if t.count > 1 {
			times = fmt.Sprintf("%d failures within the hour, the last ", t.count)
		}
		out = append(out, fmt.Sprintf("%s: %s%s ago: %s", who, times, ago(t.last.when(), now), t.last.what()))
	}
	return out
}
