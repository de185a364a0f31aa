package hci

import (
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

// Stats are what a controller counted, and its present host.
type Stats struct {
	Host     string    // who it is; empty: none
	Since    time.Time // when it came
	Commands uint64    // of all hosts, as are the following
	Lost     uint64    // times that the bytes of a host were no packets
	Reports  uint64    // advertisements that hosts were sent
	Dropped  uint64    // and that they lost because they did not keep up, or came too fast
}

// LinkStatus is one link of the host.
type LinkStatus struct {
	Address ble.Address
	Up      bool // false: the host was told that it is connected, the proxy's link is not there yet
	Since   time.Time
}

// Status is a controller now.
type Status struct {
	Name    string
	Address ble.Address
	Stats
	Scanning, Active bool
	Connecting       bool // LE Create Connection is pending
	Links            []LinkStatus
}

// Status tells of the controller.
func (c *Controller) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := Status{Name: c.cfg.Name, Address: c.cfg.Address, Stats: c.stats, Connecting: c.attempt != nil}
	st.Scanning, st.Active, st.Reports, st.Dropped = c.scan.status()
	for _, l := range c.links {
		st.Links = append(st.Links, LinkStatus{l.peer, l.up, l.since})
	}
	slices.SortFunc(st.Links, func(a, b LinkStatus) int { return a.Since.Compare(b.Since) })
	return st
}

func (s *scan) status() (on, active bool, reports, dropped uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on, s.on && s.cfg.active, s.reports, s.dropped
}
