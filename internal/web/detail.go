package web

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"bluez-esphome/internal/beacon"
	"bluez-esphome/internal/ble"
)

// pageDetail is one device as the page's panel shows it.
type pageDetail struct {
	Address     string      `json:"address"`
	Type        string      `json:"type"`
	Connectable bool        `json:"connectable"`
	Names       []string    `json:"names,omitempty"` // besides the name that it advertises
	Adapters    []string    `json:"adapters"`
	Bond        string      `json:"bond,omitempty"` // in words
	Via         string      `json:"via,omitempty"`
	Since       int64       `json:"since,omitempty"` // milliseconds ago
	Owners      []string    `json:"owners,omitempty"`
	Error       string      `json:"error,omitempty"`
	Interval    int64       `json:"interval,omitempty"` // milliseconds; the shortest that a proxy learned
	Says        [][2]string `json:"says"`               // what it advertises: name and value
	Sources     [][3]any    `json:"sources"`            // proxy, dBm, milliseconds ago
	Past        pagePast    `json:"past"`
}

// serveDevice answers with the details of the device that the query names.
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
		Address: a.String(), Type: d.Type.String() + " address", Connectable: d.Connectable, Via: text(d.Via), Names: d.names(), Adapters: []string{}, Bond: d.bond(),
		Error: message(d.LastError), Says: [][2]string{}, Sources: [][3]any{}, Past: h.past.of(a),
	}
	if a.Private(d.Type) {
		out.Type = "private random address, which changes"
	}
	for _, n := range d.Adapters {
		out.Adapters = append(out.Adapters, fmt.Sprintf("hci%d", n))
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
		for _, f := range beacon.Says(d.Last) {
			out.Says = append(out.Says, [2]string{f.Name, message(f.Value)})
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(encode(out))
}

// names are the names of the device other than the one that it advertises.
func (d *Detail) names() (out []string) {
	if d.Alias != "" {
		out = append(out, text(d.Alias)+" (a program named it so)")
	}
	if d.Known != "" && d.Known != d.Alias && (d.Last == nil || d.Known != d.Last.Name) {
		out = append(out, text(d.Known)+" (when it was last connected)")
	}
	return out
}

// bond describes the bond with the device.
func (d *Detail) bond() string {
	var out []string
	switch {
	case d.Bonded && d.BondAt != "":
		out = append(out, "paired; the keys are in "+text(d.BondAt))
	case d.Bonded:
		out = append(out, "paired")
	}
	if d.Trusted {
		out = append(out, "trusted")
	}
	if d.Blocked {
		out = append(out, "blocked")
	}
	return strings.Join(out, ", ")
}
