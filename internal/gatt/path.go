package gatt

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"bluez-esphome/internal/ble"
)

const (
	// failureHalfLife: a failed attempt counts half after this time, so that a path that failed
	// once is not avoided until it happens to succeed.
	failureHalfLife = time.Minute
	maxFailures     = 1024 // addresses whose failures one proxy keeps
	// A path that was not heard for staleAfter loses one dB for every two seconds: the device may have
	// moved away.
	staleAfter      = 10 * time.Second
	maxStalePenalty = 40
	// maxTries is how often one Connect dials through one proxy, and maxAlone if no other proxy is there and what it
	// said may pass.
	maxTries   = 2
	maxAlone   = 4
	retryPause = 500 * time.Millisecond
)

// failure is a decaying count of failed attempts.
type failure struct {
	count float64
	at    time.Time
}

// now is the count at t.
func (f failure) now(t time.Time) float64 {
	if f.count == 0 {
		return 0
	}
	return f.count * math.Exp2(-float64(t.Sub(f.at))/float64(failureHalfLife))
}

// failedLocked counts a failed attempt.
func (ps *proxyState) failedLocked(a ble.Address, now time.Time) {
	if len(ps.failures) >= maxFailures {
		for b, f := range ps.failures {
			if f.now(now) < 0.1 {
				delete(ps.failures, b)
			}
		}
		if len(ps.failures) >= maxFailures {
			return
		}
	}
	ps.failures[a] = failure{min(ps.failures[a].now(now)+1, 8), now}
}

// score rates a path, higher is better. diff is by how many dB the best path
// beats the second best; the other criteria weigh in units of it, so that one
// attempt in progress, or two failures, make the second best as good.
// free < 0 means unknown.
func score(rssi, diff, dialling int, failures float64, free int) float64 {
	if !ble.KnownRSSI(rssi) {
		rssi = ble.WeakestRSSI
	}
	if free == 0 {
		return ble.WeakestRSSI
	}
	d := float64(max(diff, 1))
	s := float64(rssi) - d*1.01*float64(dialling) - d*0.51*failures
	if free == 1 {
		s -= d * 0.76
	}
	return s
}

// candidate is one proxy that may be used for a device.
type candidate struct {
	ps    *proxyState
	slots int // free ones
	// reported is what the proxy says of its slots, where no message 81 was passed on.
	reported ble.Slots
	rssi     int
	score    float64
	dialling int       // attempts in progress
	rank     int       // in Rule.Prefer; len(Prefer) if not in it
	bond     bool      // it holds the bond
	blind    bool      // it does not hear the device: it is not in the table, or is dialled blind
	burst    bool      // dialled blind, but shortly
	path     Path      // zero if it is not in the table
	shared   bool      // a daemon shares the proxy
	joins    bool      // another host of a shared proxy has the link
	doubt    bool      // not everybody says the same of the device's address type
	due      time.Time // when a quiet one may be dialled without being heard, zero for never
	version  string
	tries    int
	tried    bool
	state    candidateState
}

type candidateState uint8

const (
	ready  candidateState = iota
	full                  // no free slot
	busy                  // its slot for the device is being released
	paused                // to be tried again a little later
	quiet                 // not heard just now
	spent                 // tried often enough
)

// survey is what can be done for a device now.
type survey struct {
	candidates []*candidate // best first
	passive    []string     // proxies that hear it and cannot connect, each with why
	denied     []string     // proxies that hear it and that the configuration rules out
	offline    []string     // proxies that hear it or had it, and are offline
	foreign    []string     // proxies on which another host has it
	heard      bool
	unheard    bool            // a proxy that could connect to it does not hear it
	changed    <-chan struct{} // closed when it may look better
}

// best is the path to try next, nil if there is none.
func (v *survey) best() *candidate {
	for _, c := range v.candidates {
		if c.state == ready {
			return c
		}
	}
	return nil
}

func (v *survey) any(s candidateState) bool {
	return slices.ContainsFunc(v.candidates, func(c *candidate) bool { return c.state == s })
}

// online is a proxy as it was asked outside the lock.
type online struct {
	up       bool
	features ble.Features
	slots    ble.Slots
	version  string
}

// survey looks for paths to the device of dl.
func (dl *dialler) survey() survey {
	m, a := dl.s.m, dl.s.addr
	paths := m.cfg.Air.Paths(a)
	rule := m.cfg.Rules(a)
	m.mu.Lock()
	v := survey{changed: m.changed}
	v.heard = slices.ContainsFunc(paths, func(p Path) bool { return p.LastHeard.IsZero() || !p.LastHeard.Before(dl.started) })
	proxies := make(map[*proxyState]online, len(m.proxies))
	for _, ps := range m.proxies {
		proxies[ps] = online{}
	}
	m.mu.Unlock()
	for ps := range proxies {
		p := ps.proxy
		proxies[ps] = online{up: p.Online(), features: p.Features(), slots: p.Slots(), version: p.Version()}
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for ps, o := range proxies {
		if m.proxies[ps.id] != ps || dl.s.via != "" && ps.id != dl.s.via {
			continue
		}
		i := slices.IndexFunc(paths, func(p Path) bool { return p.Proxy == ps.id })
		c := &candidate{ps: ps, rssi: ble.WeakestRSSI, blind: i < 0, bond: dl.rec.Bonded == ps.id, shared: ps.hosts == HostsShared, joins: ps.joins(a)}
		if c.blind {
			if !c.bond && !c.joins && dl.rec.Last != ps.id {
				v.unheard = v.unheard || !ps.gone && o.up && connects(o) && rule.allows(ps.id) && (ps.hosts != HostsApart || !ps.stale(a))
				continue
			}
		} else {
			c.path = paths[i]
			c.doubt = c.path.Type&1 != dl.s.typ&1 || slices.ContainsFunc(paths, func(p Path) bool { return p.Type&1 != c.path.Type&1 })
			c.rssi = effectiveRSSI(c.path, now)
		}
		switch {
		case !rule.allows(ps.id):
			v.denied = append(v.denied, ps.name)
			continue
		case ps.gone || !o.up:
			v.offline = append(v.offline, ps.name)
			continue
		case !connects(o):
			v.passive = append(v.passive, passive(ps.name, o))
			continue
		case ps.hosts == HostsApart && ps.stale(a):
			v.foreign = append(v.foreign, ps.name)
			continue
		}
		c.rank = slices.Index(rule.Prefer, ps.id)
		if c.rank < 0 {
			c.rank = len(rule.Prefer)
		}
		c.reported, c.version = o.slots, o.version
		c.slots = ps.free(o.slots) - dl.aheadLocked(ps.id)
		if c.joins { // who is connected advertises no more, as a rule, and needs no further slot
			c.path = Path{Proxy: ps.id, RSSI: c.rssi, Type: dl.addressType(c), Interval: c.path.Interval}
			c.blind, c.slots = false, max(c.slots, 1)
		}
		dl.judge(c, now, maxTries)
		if !c.blind && (c.state != spent || ps == dl.current) {
			m.makeWayLocked(c, a, now)
		}
		v.candidates = append(v.candidates, c)
	}
	if len(v.candidates) == 1 && v.candidates[0].state == spent && dl.tries[v.candidates[0].ps.id].passing {
		dl.judge(v.candidates[0], now, maxAlone)
	}
	v.rank(now, a)
	return v
}

// allows reports whether the configuration lets the device be connected to through a proxy.
func (r Rule) allows(id string) bool {
	return (r.Pin == "" || r.Pin == id) && !slices.Contains(r.Deny, id)
}

func connects(o online) bool {
	return o.features.Has(ble.FeatureActiveConnections | ble.FeatureRemoteCaching)
}

// passive says why a proxy makes no connections, and what helps. Firmware with ACTIVE_CONNECTIONS alone is older than
// 2022.12 and wants a request that later firmware does not know.
func passive(name string, o online) string {
	remedy := "set active: true for bluetooth_proxy in its configuration"
	if o.features.Has(ble.FeatureActiveConnections) {
		remedy = "update its ESPHome"
	}
	return fmt.Sprintf("%s (ESPHome %s): does not make connections: %s", name, o.version, remedy)
}

// addressType is the type to ask c for: what its proxy reports of the device, and with the second try, if others say
// otherwise, the other one. What is in the air changes nothing for a device with a bond.
func (dl *dialler) addressType(c *candidate) ble.AddressType {
	switch {
	case c.blind || dl.rec.Bonded != "":
		return dl.s.typ
	case c.doubt && c.tries > 0:
		return c.path.Type ^ 1
	}
	return c.path.Type
}

// effectiveRSSI is the RSSI of p less a penalty for silence.
func effectiveRSSI(p Path, now time.Time) int {
	rssi := p.RSSI
	if !ble.KnownRSSI(rssi) {
		return ble.WeakestRSSI
	}
	if p.LastHeard.IsZero() {
		return rssi
	}
	if silent := now.Sub(p.LastHeard) - staleAfter; silent > 0 {
		rssi -= min(int(silent/(2*time.Second)), maxStalePenalty)
	}
	return max(rssi, ble.WeakestRSSI)
}

// judge sets the state of c, which may be dialled that often. m.mu is held.
func (dl *dialler) judge(c *candidate, now time.Time, tries int) {
	a := dl.s.addr
	t := dl.tries[c.ps.id]
	c.tries, c.tried, c.state = t.count, t != try{}, ready
	switch {
	case c.ps == dl.current, t.count >= tries:
		c.state = spent
	case c.ps.holds[a] != nil, c.ps.stale(a) && !c.joins:
		c.state = busy
	case !dl.there(c, t, now):
		c.state = quiet
	case c.slots <= 0, now.Before(t.fullUntil):
		c.state = full
	case now.Before(t.again):
		c.state = paused
	}
}

// there reports whether the device of c may be dialled as one that is heard.
func (dl *dialler) there(c *candidate, t try, now time.Time) bool {
	if c.blind || !c.path.LastHeard.IsZero() && !c.path.LastHeard.After(t.unanswered) {
		return false
	}
	if c.path.LastHeard.After(dl.s.dev.blindAgain.Add(-blindPause)) {
		dl.s.dev.blindAgain = time.Time{}
	}
	ready, at := expect(c.path, now, dl.deadline)
	c.due = at
	return ready
}

// rank scores and sorts the candidates. m.mu is held.
func (v *survey) rank(now time.Time, a ble.Address) {
	rssi := make([]int, 0, len(v.candidates))
	for _, c := range v.candidates {
		rssi = append(rssi, c.rssi)
	}
	slices.Sort(rssi)
	diff := 0
	if n := len(rssi); n > 1 {
		diff = rssi[n-1] - rssi[n-2]
	}
	for _, c := range v.candidates {
		c.dialling = c.ps.dialling()
		c.score = score(c.rssi, diff, c.dialling, c.ps.failures[a].now(now), max(c.slots, 0))
	}
	slices.SortFunc(v.candidates, func(x, y *candidate) int {
		return cmp.Or(
			cmp.Compare(x.tries, y.tries),
			-compareBool(x.bond && !x.blind, y.bond && !y.blind),
			compareBool(x.blind, y.blind),
			-compareBool(x.bond, y.bond),
			cmp.Compare(x.rank, y.rank),
			-cmp.Compare(x.score, y.score),
			cmp.Compare(x.ps.id, y.ps.id))
	})
	for _, l := range []*[]string{&v.passive, &v.denied, &v.offline, &v.foreign} {
		slices.Sort(*l)
	}
}

func compareBool(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return 1
	}
	return -1
}

// describe lists what stands in the way of every proxy that matters.
func (v *survey) describe() string {
	var parts []string
	for _, c := range v.candidates {
		switch c.state {
		case full:
			parts = append(parts, c.ps.name+": no free connection slot")
		case busy:
			if c.tried { // the end of our own attempt is on its way
				continue
			}
			parts = append(parts, c.ps.name+": its connection slot is not yet released")
		}
	}
	for _, n := range v.offline {
		parts = append(parts, n+": offline")
	}
	parts = append(parts, v.passive...)
	for _, n := range v.denied {
		parts = append(parts, n+": ruled out by configuration")
	}
	for _, n := range v.foreign {
		parts = append(parts, n+": in use by another host")
	}
	return strings.Join(parts, "; ")
}
