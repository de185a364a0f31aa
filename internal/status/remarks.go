package status

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Placeholders for the name and the address of a proxy in a remark, so that equal remarks about several proxies are
// found.
const (
	thisProxy   = "\x00"
	thisAddress = "\x01"
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
		address := list[0].Host
		if len(list) > 1 {
			address = "their addresses"
		}
		remark = strings.NewReplacer(thisProxy, list[0].Name, thisAddress, address).Replace(remark)
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
	var (
		list        []*Proxy
		first, last time.Duration
	)
	for i := range r.Proxies {
		left, ok := r.Proxies[i].left(now)
		if !ok {
			continue
		}
		if len(list) == 0 {
			first, last = left, left
		}
		list, first, last = append(list, &r.Proxies[i]), min(first, left), max(last, left)
	}
	if len(list) > 0 {
		wrap(w, "", "  ", r.whom(list)+": "+nextAttempt(first, last))
	}
}

// next says when the daemon tries again, "" if that is not planned.
func (p *Proxy) next(now time.Time) string {
	left, ok := p.left(now)
	if !ok {
		return ""
	}
	return nextAttempt(left, left)
}

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
	return text + "; a reload (systemctl reload bluez-esphome, or SIGHUP) tries now"
}

// anonymous puts placeholders for the proxy's address into a text.
func (p *Proxy) anonymous(text string) string {
	host, _, err := net.SplitHostPort(p.Host)
	if err != nil {
		host = p.Host
	}
	words := strings.Split(text, " ")
	for i, word := range words {
		bare := strings.TrimRight(word, ":;,.")
		if bare != "" && (bare == p.Host || bare == host) {
			words[i] = thisAddress + word[len(bare):]
		}
	}
	return strings.Join(words, " ")
}
