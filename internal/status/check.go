package status

import (
	"fmt"
	"strings"
)

// Exit statuses of a Check, as monitoring programs take them (the Monitoring Plugins guidelines).
const (
	CheckOK       = 0
	CheckWarning  = 1 // some are not online, or the configuration on disk has mistakes
	CheckCritical = 2 // none is online
)

// Check says in one line how the proxies of the daemon are, with an exit status.
func (r *Report) Check() (status int, line string) {
	status, line = r.verdict()
	return status, line + r.Elsewhere()
}

func (r *Report) verdict() (status int, line string) {
	var (
		states []string
		away   int
		in     = map[string][]*Proxy{}
	)
	for i := range r.Proxies {
		p := &r.Proxies[i]
		if p.State == online {
			continue
		}
		away++
		if in[p.State] == nil {
			states = append(states, p.State)
		}
		in[p.State] = append(in[p.State], p)
	}
	total := len(r.Proxies)
	switch {
	case total == 0 && r.about != "":
		return CheckOK, "OK: " + r.about + " is no proxy"
	case total == 0:
		return CheckCritical, "CRITICAL: no proxy is configured"
	case away == total:
		status, line = CheckCritical, "CRITICAL"
	case away > 0:
		status, line = CheckWarning, "WARNING"
	default:
		status, line = CheckOK, "OK"
	}
	line += fmt.Sprintf(": %d of %d proxies online", total-away, total)
	for _, state := range states {
		line += "; " + r.whom(in[state]) + ": " + state
	}
	if c := r.Configuration; c != nil && c.Problem != "" {
		if status == CheckOK {
			status, line = CheckWarning, strings.Replace(line, "OK", "WARNING", 1)
		}
		if c.unread() {
			line += "; the configuration on disk cannot be read"
		} else {
			line += "; the configuration on disk has mistakes"
		}
	}
	return status, line
}
