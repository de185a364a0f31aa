package status

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"bluez-esphome/internal/ble"
)

// PrintProxies writes the proxies as a table, and below it what each missing feature disables.
func (r *Report) PrintProxies(w io.Writer, now time.Time) {
	if len(r.Proxies) == 0 {
		fmt.Fprintln(w, "no proxies are configured")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PROXY\tADDRESS\tSTATE\tESPHOME\tSCAN\tSLOTS\tHEARD\tREMARK")
	for _, p := range r.Proxies {
		slots := "-"
		if p.SlotLimit > 0 {
			slots = fmt.Sprintf("%d of %d free", p.SlotFree, p.SlotLimit)
		}
		remark := p.LastError
		if p.State == "online" {
			remark = missing(p.Features)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.Host, p.State, dash(p.ESPHomeVersion), dash(p.ScanMode), slots, ago(p.LastHeard, now), remark)
	}
	t.Flush()
	connected := 0
	for _, d := range r.Devices {
		if d.Connected {
			connected++
		}
	}
	fmt.Fprintf(w, "%d devices on the bus, %d connected\n", len(r.Devices), connected)
	for _, a := range r.Adapters {
		if a.Dropped > 0 {
			fmt.Fprintf(w, "%s: the table of devices is full (max_devices: %d); %d made room for others since the start\n", a.Name, a.MaxDevices, a.Dropped)
		}
	}
	r.printShared(w, now)
}

// PrintDevices writes the devices on the bus as a table; * marks the proxy whose signal counts.
func (r *Report) PrintDevices(w io.Writer, now time.Time) {
	if len(r.Devices) == 0 {
		fmt.Fprintln(w, "no devices are on the bus: they come when a program discovers (bluetoothctl scan le)")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "DEVICE\tALIAS\tADAPTER\tRSSI\tSTATE\tHEARD BY (dBm, ago)")
	for _, d := range r.Devices {
		rssi, state := "-", "-"
		if d.RSSI != nil {
			rssi = fmt.Sprint(*d.RSSI)
		}
		switch {
		case d.Connected:
			state = "connected"
		case d.Paired:
			state = "paired"
		}
		var heard []string
		for _, s := range d.Sources {
			mark := ""
			if s.Owner {
				mark = "*"
			}
			heard = append(heard, fmt.Sprintf("%s%s %d %s", s.Proxy, mark, s.RSSI, ago(s.LastHeard, now)))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Address, d.Alias, d.Adapter, rssi, state, strings.Join(heard, ", "))
	}
	t.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func ago(unix uint64, now time.Time) string {
	if unix == 0 {
		return "never"
	}
	return max(0, now.Sub(time.Unix(int64(unix), 0))).Truncate(time.Second).String()
}

// disables says what a proxy cannot do without a feature (ESPHome's feature flags).
var disables = []struct {
	flag ble.Features
	text string
}{
	{ble.FeatureActiveConnections, "no connections"},
	{ble.FeatureRemoteCaching, "no connections (firmware before 2022.12)"},
	{ble.FeaturePairing, "no pairing"},
	{ble.FeatureCacheClearing, "no clearing of its cache"},
	{ble.FeatureRawAdvertisements, "adverts without unknown AD types"},
	{ble.FeatureStateAndMode, "scan mode unknown and fixed"},
	{ble.FeatureConnectionParams, "no connection parameters"},
}

func missing(features []string) string {
	has := strings.Join(features, ",")
	var out []string
	for _, d := range disables {
		if !strings.Contains(has, d.flag.String()) {
			out = append(out, d.text)
		}
		if d.flag == ble.FeatureActiveConnections && len(out) > 0 {
			return strings.Join(out, "; ") // the others need connections
		}
	}
	return strings.Join(out, "; ")
}
