package share

import (
	"cmp"
	"slices"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
)

// HostStatus is one host that uses a shared proxy.
type HostStatus struct {
	Name       string // as the host calls itself, made printable
	Address    string // host:port
	Since      time.Time
	Subscribed bool          // to advertisements
	Batches    uint64        // of advertisements that were sent; single ones if it wanted them decoded
	Dropped    uint64        // of them that it lost because it did not read fast enough
	Values     uint64        // notifications of peripherals that it lost so
	Links      []ble.Address // that it holds, attempts included
	Bluetooth  bool          // it uses the proxy: subscribed, watches the slots, or holds a link
	Entities   bool          // it uses the rest of the device, in a session of its own
	Refused    string        // why it does not though it asked
	// ToDevice and FromDevice are the messages that were passed on unread.
	ToDevice, FromDevice uint64
}

// Status is a shared proxy.
type Status struct {
	Name      string // as its hosts know it
	Proxy     string // the ID of the real one; empty: all of them
	Address   string // where it listens, host:port; empty: not yet
	Encrypted bool
	Hosts     []HostStatus
	// Batches and Dropped are those of HostStatus, over all hosts since the program began.
	Batches, Dropped uint64
}

// Status tells of the proxies that are shared now, by port.
func (s *Server) Status() []Status {
	s.mu.Lock()
	list := make([]*Proxy, 0, len(s.up))
	for p := range s.up {
		list = append(list, p)
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b *Proxy) int { return cmp.Compare(a.port, b.port) })
	out := make([]Status, len(list))
	for i, p := range list {
		out[i] = p.Status()
	}
	return out
}

// Status tells of the present hosts, those that came first before others.
func (p *Proxy) Status() Status {
	gone := p.srv.gone(p.label())
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{
		Name: p.device.Name, Proxy: p.id, Address: p.address, Encrypted: p.psk != nil,
		Batches: gone.Adverts, Dropped: gone.DroppedAdverts,
	}
	for _, h := range p.hosts {
		hs := h.statusLocked()
		st.Batches += hs.Batches
		st.Dropped += hs.Dropped
		st.Hosts = append(st.Hosts, hs)
	}
	slices.SortFunc(st.Hosts, func(a, b HostStatus) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Address, b.Address))
	})
	return st
}

func (h *host) statusLocked() HostStatus {
	c := h.s.Counts()
	hs := HostStatus{
		Name: h.s.ClientName(), Address: h.s.RemoteAddr().String(), Since: h.since,
		Batches: c.Adverts, Dropped: c.DroppedAdverts, Values: c.DroppedNotifications,
	}
	hs.Subscribed = h.subscribed
	hs.Bluetooth = h.subscribed || h.wantsSlots || len(h.devices) > 0
	hs.Entities, hs.Refused = h.rest.uses()
	hs.ToDevice, hs.FromDevice = h.rest.sent.Load(), h.rest.received.Load()
	for a := range h.devices {
		hs.Links = append(hs.Links, a)
	}
	slices.Sort(hs.Links)
	return hs
}

// left adds up what hosts that are gone were sent.
func (s *Server) left(label string, c apiserver.Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.counts[label]
	t.Adverts += c.Adverts
	t.DroppedAdverts += c.DroppedAdverts
	s.counts[label] = t
}

func (s *Server) gone(label string) apiserver.Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[label]
}

// Has says in a word what the host uses of the device.
func (h HostStatus) Has() string {
	switch {
	case h.Bluetooth && h.Entities:
		return "both"
	case h.Entities:
		return "entities"
	case h.Bluetooth:
		return "Bluetooth"
	}
	return "nothing"
}
