package web

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"bluez-esphome/internal/ble"
)

// pageDetail is one device as its panel shows it.
type pageDetail struct {
	Address     string      `json:"address"`
	Type        string      `json:"type"`
	Connectable bool        `json:"connectable"`
	Bonded      bool        `json:"bonded,omitempty"`
	Via         string      `json:"via,omitempty"`
	Since       int64       `json:"since,omitempty"` // milliseconds ago
	Owners      []string    `json:"owners,omitempty"`
	Error       string      `json:"error,omitempty"`
	Interval    int64       `json:"interval,omitempty"` // milliseconds; the shortest that a proxy learned
	Says        [][2]string `json:"says"`               // what it advertises: name and value
	Sources     [][3]any    `json:"sources"`            // proxy, dBm, milliseconds ago
	Past        pagePast    `json:"past"`
}

// serveDevice tells of the device that the query names.
func (h *hub) serveDevice(w http.ResponseWriter, r *http.Request) {
	a, err := ble.ParseAddress(r.URL.Query().Get("address"))
	if err != nil {
		http.Error(w, "Want ?address= with a Bluetooth address, such as C8:2B:96:10:00:01.", http.StatusBadRequest)
		return
	}
	d, ok := h.src.Detail(a)
	if !ok {
		http.Error(w, "That device is not heard.", http.StatusNotFound)
		return
	}
	now := time.Now()
	out := pageDetail{
		Address: a.String(), Type: d.Type.String() + " address", Connectable: d.Connectable, Bonded: d.Bonded, Via: text(d.Via),
		Error: message(d.LastError), Says: [][2]string{}, Sources: [][3]any{}, Past: h.past.of(a),
	}
	if a.Private(d.Type) {
		out.Type = "private random address, which changes"
	}
	if d.Via != "" {
		out.Since = now.Sub(d.Since).Milliseconds()
	}
	for _, o := range d.Owners {
		out.Owners = append(out.Owners, text(o))
	}
	for _, s := range d.Sources {
		out.Sources = append(out.Sources, [3]any{text(s.Proxy), s.RSSI, max(0, now.Sub(s.LastHeard).Milliseconds())})
		if ms := s.Interval.Milliseconds(); ms > 0 && (out.Interval == 0 || ms < out.Interval) {
			out.Interval = ms
		}
	}
	if d.Last != nil {
		out.Says = says(d.Last)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(encode(out))
}

// companies are those whose numbers (Bluetooth SIG, Assigned Numbers) are met most; others are shown as numbers.
var companies = map[uint16]string{
	0x0006: "Microsoft", 0x004c: "Apple", 0x0059: "Nordic Semiconductor", 0x0075: "Samsung Electronics", 0x0087: "Garmin", 0x00e0: "Google",
	0x0157: "Huami", 0x0499: "Ruuvi Innovations", 0x02e5: "Espressif", 0x038f: "Xiaomi", 0x0969: "Woan Technology (SwitchBot)", 0x0ba9: "Shelly",
	0xffff: "none (for tests)",
}

// says puts an advertisement into pairs of name and value. What is not decoded is in hexadecimal.
func says(a *ble.Advertisement) [][2]string {
	out := [][2]string{}
	add := func(name, value string) { out = append(out, [2]string{name, message(value)}) }
	if len(a.ServiceUUIDs) > 0 {
		var list []string
		for _, u := range a.ServiceUUIDs {
			list = append(list, u.String())
		}
		add("services", strings.Join(list, ", "))
	}
	for _, m := range a.ManufacturerData {
		name := companies[m.Company]
		if name == "" {
			name = "company"
		}
		add("manufacturer", fmt.Sprintf("%s (0x%04x): %s", name, m.Company, manufacturer(m.Company, m.Data)))
	}
	for _, s := range a.ServiceData {
		add("service data", s.UUID.String()+": "+hex.EncodeToString(s.Data))
	}
	if a.HasTxPower {
		add("TX power", fmt.Sprintf("%d dBm", a.TxPower))
	}
	if a.HasAppearance {
		add("appearance", fmt.Sprintf("0x%04x", a.Appearance))
	}
	if len(a.Raw) > 0 {
		add("raw", hex.EncodeToString(a.Raw))
	}
	return out
}

// manufacturer decodes iBeacon (Apple, Proximity Beacon Specification); all else is raw.
func manufacturer(company uint16, data []byte) string {
	raw := hex.EncodeToString(data)
	if company == 0x004c && len(data) == 23 && data[0] == 0x02 && data[1] == 0x15 {
		u := hex.EncodeToString(data[2:18])
		return fmt.Sprintf("iBeacon %s-%s-%s-%s-%s, major %d, minor %d, %d dBm at 1 m", u[:8], u[8:12], u[12:16], u[16:20], u[20:],
			int(data[18])<<8|int(data[19]), int(data[20])<<8|int(data[21]), int8(data[22]))
	}
	return raw
}
