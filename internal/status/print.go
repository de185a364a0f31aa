package status

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Widths of columns, in characters. They keep the tables within a terminal's 80 columns where names are long.
const (
	wideName  = 24
	shortName = 12
	width     = 80
)

// PrintProxies writes a line for each proxy, then the links, and what the administrator should know.
func (r *Report) PrintProxies(w io.Writer, now time.Time) {
	if len(r.Proxies) == 0 {
		fmt.Fprintln(w, "no proxies: list them in the configuration (bluez-esphome discover finds those on the network)")
		r.Configuration.print(w, now)
		return
	}
	t := table(w, "PROXY\tSTATE\tESPHOME\tSCAN\tSLOTS\tHEARD")
	for _, p := range r.Proxies {
		slots := "-"
		if p.SlotLimit > 0 {
			slots = fmt.Sprintf("%d/%d used", p.used(), p.SlotLimit)
		}
		row(t, clip(p.Name, wideName), p.State, clip(dash(p.ESPHomeVersion), shortName+1), dash(p.ScanMode), slots, ago(p.LastHeard, now))
	}
	t.Flush()
	r.printLinks(w, now)
	fmt.Fprintln(w)
	r.printRemarks(w, now)
	for _, f := range r.failures(now) {
		wrap(w, "", "  ", f)
	}
	r.Configuration.print(w, now)
	if r.Stream != nil {
		r.Stream.print(w, now)
	}
	r.printShared(w, now)
	r.printControllers(w, now)
	r.printCounts(w)
}

// remarks are the facts about a proxy that deserve a line of the overview.
func (p *Proxy) remarks() (out []string) {
	if p.LastError != "" {
		out = append(out, p.anonymous(p.LastError))
	}
	if len(p.Bonds) > 0 && p.State != online {
		out = append(out, fmt.Sprintf("it holds the bond with %s: what needs encryption is refused through other proxies until it is back", strings.Join(p.Bonds, ", ")))
	}
	if len(p.Missing) == 1 {
		out = append(out, fmt.Sprintf("no %s: %s", p.Missing[0].Feature, p.Missing[0].Disables))
	} else if len(p.Missing) > 1 {
		names := make([]string, len(p.Missing))
		for i, m := range p.Missing {
			names[i] = m.Feature
		}
		out = append(out, fmt.Sprintf("no %s; bluez-esphome status %s says what that disables", strings.Join(names, ", "), thisProxy))
	}
	return out
}

// online is the state of a proxy that is in use.
const online = "online"

// printLinks writes a table of the connection slots in use, if any are.
func (r *Report) printLinks(w io.Writer, now time.Time) {
	var t *tabwriter.Writer
	for _, p := range r.Proxies {
		for _, l := range p.Links {
			if t == nil {
				fmt.Fprintln(w)
				t = table(w, "DEVICE\tNAME\tPROXY\tSTATE\tSINCE\tBY")
			}
			row(t, l.Address, clip(dash(l.Name), shortName), clip(p.Name, shortName), l.State, ago(l.Since, now), clip(l.by(), shortName+2))
		}
	}
	if t != nil {
		t.Flush()
	}
}

func (r *Report) printCounts(w io.Writer) {
	connected, heard := 0, ""
	for _, d := range r.Devices {
		if d.Connected {
			connected++
		}
	}
	for _, a := range r.Adapters {
		if a.Name == "hci0" {
			heard = fmt.Sprintf("%d devices heard, ", a.Devices)
			if a.Devices == 1 {
				heard = "1 device heard, "
			}
		}
	}
	fmt.Fprintf(w, "%s%d on the bus, %d connected\n", heard, len(r.Devices), connected)
	if r.guessed && len(r.Others) == 0 {
		wrap(w, "", "  ", fmt.Sprintf("This is the bluez-esphome on %s; --bus names another.", r.Bus))
	}
	for _, a := range r.Adapters {
		if a.Dropped > 0 {
			wrap(w, "", "  ", fmt.Sprintf("%s: the table of devices is full (max_devices: %d); %d made room for others since the start", a.Name, a.MaxDevices, a.Dropped))
		}
	}
}

// PrintProxy writes everything about the proxies with that name, or about all if it is empty. It returns false if there
// is none.
func (r *Report) PrintProxy(w io.Writer, now time.Time, name string) (found bool) {
	for _, p := range r.Proxies {
		if name == "" || p.Name == name {
			if found {
				fmt.Fprintln(w)
			}
			found = true
			p.print(w, now)
			printTries(w, now, r.Connects, p.Name)
			r.printSharing(w, now, p.Name)
		}
	}
	if name == "" {
		fmt.Fprintln(w)
		r.Configuration.print(w, now)
		r.printCounts(w)
	}
	return found || name == ""
}

// Names lists the proxies.
func (r *Report) Names() string {
	names := make([]string, len(r.Proxies))
	for i, p := range r.Proxies {
		names[i] = p.Name
	}
	return strings.Join(names, ", ")
}

// detail writes one of a proxy's details, its name in a column before it.
func detail(w io.Writer, name, text string) {
	const indent, column = 2, 11
	wrap(w, fmt.Sprintf("%*s%-*s", indent, "", column, name), strings.Repeat(" ", indent+column), text)
}

func (p *Proxy) print(w io.Writer, now time.Time) {
	line := func(name, text string) { detail(w, name, text) }
	wrap(w, "", "", p.Name)
	line("state", p.State)
	if p.LastError != "" {
		line("error", p.LastError)
	}
	if next := p.next(now); next != "" {
		line("next", next)
	}
	if p.LastLinkError != "" {
		line("link error", p.LastLinkError)
	}
	line("address", p.Host)
	if p.ESPHomeVersion != "" {
		line("firmware", "ESPHome "+p.ESPHomeVersion)
	}
	if p.BluetoothAddress != "" {
		line("bluetooth", p.BluetoothAddress)
	}
	mode := p.ScanMode
	if mode == "" {
		mode = "unknown"
	}
	line("scan mode", mode)
	line("heard", agoLong(p.LastHeard, now))
	if p.SlotLimit > 0 {
		line("slots", fmt.Sprintf("%d of %d used", p.used(), p.SlotLimit))
	}
	for i, l := range p.Links {
		name := ""
		if i == 0 {
			name = "links"
		}
		text := l.Address
		if l.Name != "" {
			text += " " + l.Name
		}
		text += ", " + l.State
		if l.Since != 0 {
			text += " for " + ago(l.Since, now)
		}
		line(name, text+", by "+l.by())
	}
	for i, a := range p.Bonds {
		name := ""
		if i == 0 {
			name = "bonds"
		}
		line(name, a)
	}
	if len(p.Features) > 0 {
		line("features", strings.Join(p.Features, ", "))
	}
	for _, m := range p.Missing {
		line("lacks", m.Feature+": "+m.Disables)
	}
	if p.Note != "" {
		line("note", p.Note)
	}
}

// bondHolder names the proxy that holds the bond with a device, "" if no proxy does.
func (r *Report) bondHolder(address string) string {
	for _, p := range r.Proxies {
		if slices.Contains(p.Bonds, address) {
			return p.Name
		}
	}
	return ""
}

// printTries writes the last attempts through a proxy that failed.
func printTries(w io.Writer, now time.Time, connects []Connect, proxy string) {
	const most = 5
	n := 0
	for _, c := range connects {
		for _, t := range c.Tries {
			if t.Proxy != proxy || t.Result == "connected" || n == most {
				continue
			}
			name := ""
			n++
			if n == 1 {
				name = "failed"
			}
			detail(w, name, fmt.Sprintf("%s ago, %s: %s", ago(c.At, now), strings.TrimSpace(c.Name+" "+c.Device), strings.TrimPrefix(t.what(), proxy+", ")))
		}
	}
}

func (p *Proxy) used() uint16 { return p.SlotLimit - min(p.SlotFree, p.SlotLimit) }

func (l Link) by() string {
	if len(l.Owners) == 0 {
		return "-"
	}
	return strings.Join(l.Owners, ", ")
}
