package status

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// A Shared is one proxy, or all of them as one, as it is offered to other hosts.
type Shared struct {
	Name      string `json:"name"`    // under which the hosts know it
	Proxy     string `json:"proxy"`   // the proxy that is shared; "" is all of them
	Address   string `json:"address"` // host:port; "": it does not listen yet
	Encrypted bool   `json:"encrypted"`
	// Batches and Dropped count the batches of advertisements, since the start of the daemon, that hosts were sent, and
	// that hosts lost because they read too slowly.
	Batches uint64 `json:"batches"`
	Dropped uint64 `json:"dropped"`
	Hosts   []Host `json:"hosts"`
}

// A Host is one host that uses a shared proxy.
type Host struct {
	Name       string `json:"name"`
	Address    string `json:"address"`
	Since      Moment `json:"since"`
	Subscribed bool   `json:"subscribed"`
	Batches    uint64 `json:"batches"`
	Dropped    uint64 `json:"dropped"`
	// DroppedValues counts the notifications of peripherals that it lost.
	DroppedValues uint64   `json:"dropped_values"`
	Links         []string `json:"links"`
	Has           string   `json:"has"`     // Bluetooth, entities, both or nothing; "" of an older daemon
	Refused       string   `json:"refused"` // why it has no entities though it asked
	// ToDevice and FromDevice count the messages that are not about Bluetooth and are passed on unread.
	ToDevice   uint64 `json:"to_device"`
	FromDevice uint64 `json:"from_device"`
}

// sharedOf reads org.bluez_esphome.Share1.
func sharedOf(props map[string]dbus.Variant, names map[dbus.ObjectPath]string) []Shared {
	out := []Shared{}
	for _, p := range get[[]map[string]dbus.Variant](props, "Proxies") {
		s := Shared{
			Name: get[string](p, "Name"), Proxy: names[get[dbus.ObjectPath](p, "Proxy")], Address: get[string](p, "Address"),
			Encrypted: get[bool](p, "Encrypted"), Batches: get[uint64](p, "Batches"), Dropped: get[uint64](p, "Dropped"), Hosts: []Host{},
		}
		for _, h := range get[[]map[string]dbus.Variant](p, "Hosts") {
			s.Hosts = append(s.Hosts, Host{
				Name: get[string](h, "Name"), Address: get[string](h, "Address"), Since: Moment(get[uint64](h, "Since")),
				Subscribed: get[bool](h, "Subscribed"), Batches: get[uint64](h, "Batches"), Dropped: get[uint64](h, "Dropped"),
				DroppedValues: get[uint64](h, "DroppedValues"), Links: list(get[[]string](h, "Links")),
				Has: get[string](h, "Has"), Refused: get[string](h, "Refused"), ToDevice: get[uint64](h, "ToDevice"), FromDevice: get[uint64](h, "FromDevice"),
			})
		}
		out = append(out, s)
	}
	slices.SortStableFunc(out, func(a, b Shared) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// has says which parts of the device the host has.
func (h Host) has() string {
	if h.Has == "" {
		return "-"
	}
	return h.Has
}

// notYet stands for the address of a shared proxy that has no port yet.
const notYet = "cannot listen yet; the log says why"

// printShared writes which hosts use what is shared, and below it notes about proxies that have no fault.
func (r *Report) printShared(w io.Writer, now time.Time) {
	if len(r.Shared) > 0 {
		t := table(w, "SHARED AS\tHOST\tFROM\tSINCE\tHAS\tBATCHES\tLOST\tLINKS")
		for _, s := range r.Shared {
			name := clip(s.Name, shortName+6)
			switch {
			case s.Address == "":
				row(t, name, notYet)
			case len(s.Hosts) == 0:
				row(t, name, "nobody")
			}
			for _, h := range s.Hosts {
				from, _, err := net.SplitHostPort(h.Address)
				if err != nil {
					from = h.Address
				}
				row(t, name, clip(h.Name, shortName+2), clip(from, shortName+3), ago(h.Since, now), h.has(), fmt.Sprint(h.Batches), fmt.Sprint(h.Dropped), fmt.Sprint(len(h.Links)))
				name = ""
			}
		}
		t.Flush()
		fmt.Fprintln(w)
		for _, s := range r.Shared {
			for _, h := range s.Hosts {
				if h.Refused != "" {
					wrap(w, "", "  ", fmt.Sprintf("%s has no entities of %s: %s", h.Name, s.Name, h.Refused))
				}
			}
		}
	}
	var notes []string // each is written once, with the proxies that it is about
	whom := map[string][]string{}
	for _, p := range r.Proxies {
		if p.Note == "" {
			continue
		}
		if whom[p.Note] == nil {
			notes = append(notes, p.Note)
		}
		whom[p.Note] = append(whom[p.Note], p.Name)
	}
	for _, n := range notes {
		wrap(w, "", "  ", "note on "+strings.Join(whom[n], ", ")+": "+n)
	}
}

// printSharing writes under which name one proxy is shared, and with which hosts.
func (r *Report) printSharing(w io.Writer, now time.Time, proxy string) {
	for _, s := range r.Shared {
		if s.Proxy != proxy {
			continue
		}
		if s.Address == "" {
			detail(w, "shared", "as "+s.Name+": "+notYet)
			continue
		}
		hosts := make([]string, len(s.Hosts))
		for i, h := range s.Hosts {
			hosts[i] = fmt.Sprintf("%s (%s) for %s (%s)", h.Name, h.Address, ago(h.Since, now), h.has())
		}
		if len(hosts) == 0 {
			hosts = []string{"nobody yet"}
		}
		detail(w, "shared", fmt.Sprintf("as %s (%s) with %s", s.Name, s.Address, strings.Join(hosts, ", ")))
	}
}
