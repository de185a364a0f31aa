package status

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"
)

// A Controller is one virtual Bluetooth controller.
type Controller struct {
	Name    string `json:"name"` // its transport, such as vhci or unix:PATH
	Address string `json:"address"`
	Host    string `json:"host"`  // who uses it; "" is nobody
	Since   Moment `json:"since"` // of the host
	// Scanning is off, passive or active.
	Scanning   string   `json:"scanning"`
	Connecting bool     `json:"connecting"` // its host waits for a connection
	Links      []string `json:"links"`
	// Reports are advertisements that hosts were sent, Dropped those that they lost since they did not keep up, Lost the
	// times that the bytes of a host were no packets; all since the start of the daemon.
	Reports uint64 `json:"reports"`
	Dropped uint64 `json:"dropped"`
	Lost    uint64 `json:"lost"`
}

// controllersOf reads org.bluez_esphome.Controllers1.
func controllersOf(props map[string]dbus.Variant) []Controller {
	out := []Controller{}
	for _, p := range get[[]map[string]dbus.Variant](props, "Controllers") {
		c := Controller{
			Name: get[string](p, "Name"), Address: get[string](p, "Address"), Host: get[string](p, "Host"), Since: Moment(get[uint64](p, "Since")),
			Scanning: "off", Connecting: get[bool](p, "Connecting"), Links: list(get[[]string](p, "Links")),
			Reports: get[uint64](p, "Reports"), Dropped: get[uint64](p, "Dropped"), Lost: get[uint64](p, "Lost"),
		}
		switch {
		case get[bool](p, "Active"):
			c.Scanning = "active"
		case get[bool](p, "Scanning"):
			c.Scanning = "passive"
		}
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(a, b Controller) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// printControllers writes who uses the virtual controllers.
func (r *Report) printControllers(w io.Writer, now time.Time) {
	if len(r.Controllers) == 0 {
		return
	}
	t := table(w, "CONTROLLER\tADDRESS\tHOST SINCE\tSCAN\tREPORTS\tLOST\tLINKS")
	for _, c := range r.Controllers {
		host := "no host"
		if c.Host != "" {
			host = ago(c.Since, now)
		}
		links := fmt.Sprint(len(c.Links))
		if c.Connecting {
			links += "+1"
		}
		row(t, clip(c.Name, wideName), c.Address, host, c.Scanning, fmt.Sprint(c.Reports), fmt.Sprint(c.Dropped), links)
	}
	t.Flush()
	fmt.Fprintln(w)
	for _, c := range r.Controllers {
		if c.Lost > 0 {
			wrap(w, "", "  ", fmt.Sprintf("%s: what a host sent was no Bluetooth traffic (times: %d); is it another program, or another baud rate?", c.Name, c.Lost))
		}
	}
}
