package status

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"bluez-esphome/internal/ble"
)

// Placeholders for the name, the address and the host of a proxy in a remark, so that equal remarks about several
// proxies are found.
const (
	thisProxy   = "\x00"
	thisAddress = "\x01"
	thisHost    = "\x02"
)

// printRemarks writes the remarks about all proxies; a remark that several have is written once.
func (r *Report) printRemarks(w io.Writer, now time.Time) {
	var (
		order []string
		whom  = map[string][]*Proxy{}
	)
	for i := range r.Proxies {
		p := &r.Proxies[i]
		for _, remark := range p.remarks() {
			if whom[remark] == nil {
				order = append(order, remark)
			}
			whom[remark] = append(whom[remark], p)
		}
	}
	for _, remark := range order {
		list := whom[remark]
		address, host := list[0].Host, list[0].hostAlone()
		if len(list) > 1 {
			address, host = "their addresses", "their names"
		}
		remark = strings.NewReplacer(thisProxy, list[0].Name, thisAddress, address, thisHost, host).Replace(remark)
		wrap(w, "", "  ", r.whom(list)+": "+remark)
	}
	r.printNext(w, now)
}

// whom names the proxies of a list: as "all" if it has all of them, and only the first ones of many.
func (r *Report) whom(list []*Proxy) string {
	const most = 6
	if n := len(list); n == len(r.Proxies) && n > 2 {
		return fmt.Sprintf("all %d proxies", n)
	}
	var names []string
	for i, p := range list {
		if i == most-1 && len(list) > most {
			names = append(names, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

// printNext writes when the daemon tries again to reach those that are away.
func (r *Report) printNext(w io.Writer, now time.Time) {
	for _, takes := range []bool{false, true} {
		var (
			list        []*Proxy
			first, last time.Duration
		)
		for i := range r.Proxies {
			p := &r.Proxies[i]
			left, ok := p.left(now)
			if !ok || p.untold() != takes {
				continue
			}
			if len(list) == 0 {
				first, last = left, left
			}
			list, first, last = append(list, p), min(first, left), max(last, left)
		}
		if len(list) > 0 {
			wrap(w, "", "  ", r.whom(list)+": "+nextAttempt(first, last)+"; "+list[0].sooner(len(list)))
		}
	}
}

// next says when the daemon tries again, "" if that is not planned.
func (p *Proxy) next(now time.Time) string {
	left, ok := p.left(now)
	if !ok {
		return ""
	}
	return nextAttempt(left, left) + "; " + p.sooner(1)
}

// untold reports whether another host has the proxy, and nothing tells when that host has gone: to try is to take it.
func (p *Proxy) untold() bool {
	v, known := ble.ParseVersion(p.ESPHomeVersion)
	return p.State == displaced && known && !v.TellsHost(slices.Contains(p.Features, ble.FeatureActiveConnections.String()))
}

// sooner says how the next attempt for so many proxies like this one can be had at once.
func (p *Proxy) sooner(proxies int) string {
	name := p.Name
	switch {
	case !p.untold():
		return "a reload (systemctl reload bluez-esphome, or SIGHUP) tries now"
	case proxies > 1:
		name = "NAME"
	}
	return fmt.Sprintf("bluez-esphome take %s tries now, and takes it also from a host that is still there", name)
}

// displaced is the state of a proxy that another host has.
const displaced = "displaced"

// left is the time until the next attempt; it returns false if none is planned.
func (p *Proxy) left(now time.Time) (time.Duration, bool) {
	if p.NextAttempt == 0 || p.State == online {
		return 0, false
	}
	return max(time.Unix(int64(p.NextAttempt), 0).Sub(now), 0).Round(time.Second), true
}

func nextAttempt(first, last time.Duration) string {
	const long = 2 * time.Minute
	text := fmt.Sprintf("next attempt in %d s", first/time.Second)
	switch {
	case first > long:
		text = fmt.Sprintf("next attempt in %d min", first/time.Minute)
		if last/time.Minute > first/time.Minute {
			text = fmt.Sprintf("next attempt in %d to %d min", first/time.Minute, last/time.Minute)
		}
	case last > long:
		text += fmt.Sprintf(" to %d min", last/time.Minute)
	case last > first:
		text = fmt.Sprintf("next attempt in %d to %d s", first/time.Second, last/time.Second)
	}
	return text
}

// anonymous puts placeholders for the proxy's address and host into a text.
func (p *Proxy) anonymous(text string) string {
	words := strings.Split(text, " ")
	for i, word := range words {
		switch bare := strings.TrimRight(word, ":;,."); bare {
		case "":
		case p.Host:
			words[i] = thisAddress + word[len(bare):]
		case p.hostAlone():
			words[i] = thisHost + word[len(bare):]
		}
	}
	return strings.Join(words, " ")
}

// hostAlone is the proxy's host without its port.
func (p *Proxy) hostAlone() string {
	host, _, err := net.SplitHostPort(p.Host)
	if err != nil {
		return p.Host
	}
	return host
}
