package web

import "github.com/prometheus/client_golang/prometheus"

// Share is one proxy, or all of them as one, as it is offered to other hosts.
type Share struct {
	Name  string // by which the hosts know it
	Hosts int    // number of connected hosts
	Links int    // number of links of the hosts, attempts included
	Proxy string // the shared proxy, as in Proxy.Name; empty for all of them as one
	Users []ShareUser
	// Batches and Dropped count the batches of advertisements that hosts were sent, and that hosts lost because they
	// read too slowly.
	Batches, Dropped uint64
}

// ShareUser is one host that uses a shared proxy.
type ShareUser struct {
	Name string
	Has  string // what it uses: Bluetooth, entities, both or nothing
}

// using counts the hosts that use Bluetooth, or those that use entities.
func (s *Share) using(what string) float64 {
	n := 0
	for _, u := range s.Users {
		n += int(one(u.Has == what || u.Has == "both"))
	}
	return float64(n)
}

func shareDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_share_"+name, help, []string{"share"}, nil)
}

var shareMetrics = []struct {
	desc  *prometheus.Desc
	typ   prometheus.ValueType
	value func(s *Share) float64
}{
	{shareDesc("hosts", "Hosts that use the shared proxy."), prometheus.GaugeValue, func(s *Share) float64 { return float64(s.Hosts) }},
	{shareDesc("bluetooth_hosts", "Hosts that use its Bluetooth."), prometheus.GaugeValue, func(s *Share) float64 { return s.using("Bluetooth") }},
	{shareDesc("entities_hosts", "Hosts that use its entities, in a session of the device each."), prometheus.GaugeValue, func(s *Share) float64 { return s.using("entities") }},
	{shareDesc("links", "Links and attempts of these hosts."), prometheus.GaugeValue, func(s *Share) float64 { return float64(s.Links) }},
	{shareDesc("batches_total", "Batches of advertisements that hosts were sent."), prometheus.CounterValue, func(s *Share) float64 { return float64(s.Batches) }},
	{shareDesc("dropped_batches_total", "Batches that hosts lost because they read too slowly."), prometheus.CounterValue, func(s *Share) float64 { return float64(s.Dropped) }},
}

func (c sourceCollector) collectShares(ch chan<- prometheus.Metric) {
	seen := map[string]bool{}
	for _, s := range c.src.Shares() {
		name := unique(seen, text(s.Name))
		for _, m := range shareMetrics {
			ch <- prometheus.MustNewConstMetric(m.desc, m.typ, m.value(&s), name)
		}
	}
}
