package web

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// sourceCollector reads the Source when Prometheus scrapes it.
type sourceCollector struct{ src Source }

func proxyDesc(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_proxy_"+name, help, append([]string{"proxy"}, more...), nil)
}

func airDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_air_"+name, help, nil, nil)
}

// proxyMetric is a metric of each proxy. Its value is not ok where the proxy has none.
type proxyMetric struct {
	desc  *prometheus.Desc
	typ   prometheus.ValueType
	value func(p *Proxy) (v float64, ok bool)
}

func number[T int | uint64](get func(p *Proxy) T) func(*Proxy) (float64, bool) {
	return func(p *Proxy) (float64, bool) { return float64(get(p)), true }
}

func ifSlots(get func(p *Proxy) int) func(*Proxy) (float64, bool) {
	return func(p *Proxy) (float64, bool) { return float64(get(p)), p.SlotsKnown }
}

var (
	stateDesc = proxyDesc("state", "1 for the state that the proxy is in, 0 for the others.", "state")
	infoDesc  = proxyDesc("info", "Always 1; the labels tell of the proxy.", "host", "esphome_version", "scan_mode")

	connectsDesc = prometheus.NewDesc(namespace+"_connects_total", "Calls of Connect by what became of them.", []string{"result"}, nil)
	endsDesc     = prometheus.NewDesc(namespace+"_links_ended_total", "Links by why they ended.", []string{"reason"}, nil)
	lostDesc     = prometheus.NewDesc(namespace+"_notifications_lost_total",
		"Notifications that programs lost because they read their descriptors too slowly.", nil, nil)

	proxyMetrics = []proxyMetric{
		{proxyDesc("adverts_total", "Advertisements received from the proxy."), prometheus.CounterValue, number(func(p *Proxy) uint64 { return p.Adverts })},
		{proxyDesc("received_bytes_total", "Bytes received from the proxy."), prometheus.CounterValue, number(func(p *Proxy) uint64 { return p.Read })},
		{proxyDesc("sent_bytes_total", "Bytes sent to the proxy."), prometheus.CounterValue, number(func(p *Proxy) uint64 { return p.Written })},
		{proxyDesc("sessions_total", "Sessions with the proxy that were up."), prometheus.CounterValue, number(func(p *Proxy) uint64 { return p.Sessions })},
		{proxyDesc("reconnects_total", "Sessions with the proxy that were up after the first one."), prometheus.CounterValue, number(func(p *Proxy) uint64 { return p.Sessions - min(p.Sessions, 1) })},
		{proxyDesc("connect_failures_total", "Attempts that did not bring a session up."), prometheus.CounterValue, number(func(p *Proxy) uint64 { return p.Failures })},
		{proxyDesc("devices_owned", "Devices for which the proxy speaks since it hears them best."), prometheus.GaugeValue, number(func(p *Proxy) int { return p.Owned })},
		{proxyDesc("links", "Links and attempts of ours through the proxy."), prometheus.GaugeValue, number(func(p *Proxy) int { return p.ours() })},
		{proxyDesc("slots_limit", "Connection slots that the proxy has."), prometheus.GaugeValue, ifSlots(func(p *Proxy) int { return p.SlotLimit })},
		{proxyDesc("slots_free", "Connection slots that are free."), prometheus.GaugeValue, ifSlots(func(p *Proxy) int { return p.SlotFree })},
		{proxyDesc("last_heard_timestamp_seconds", "When an advertisement last came from the proxy."), prometheus.GaugeValue,
			func(p *Proxy) (float64, bool) { return seconds(p.LastHeard), !p.LastHeard.IsZero() }},
	}

	airMetrics = []struct {
		desc  *prometheus.Desc
		typ   prometheus.ValueType
		value func(a *Air) float64
	}{
		{airDesc("devices", "Devices in the merged table."), prometheus.GaugeValue, func(a *Air) float64 { return float64(a.Devices) }},
		{airDesc("adverts_total", "Advertisements taken into the merged table."), prometheus.CounterValue, func(a *Air) float64 { return float64(a.Adverts) }},
		{airDesc("repeats_total", "Advertisements that said what their device last said."), prometheus.CounterValue, func(a *Air) float64 { return float64(a.Repeats) }},
		{airDesc("novel_total", "Advertisements with new content."), prometheus.CounterValue, func(a *Air) float64 { return float64(a.Novel) }},
		{airDesc("replays_total", "Late copies of older content, not reported again."), prometheus.CounterValue, func(a *Air) float64 { return float64(a.Replays) }},
		{airDesc("source_switches_total", "Times that another proxy became the owner of a device."), prometheus.CounterValue, func(a *Air) float64 { return float64(a.Switches) }},
		{airDesc("evicted_total", "Devices dropped because the table was full."), prometheus.CounterValue, func(a *Air) float64 { return float64(a.Evicted) }},
		{airDesc("expired_total", "Devices dropped because nobody heard them."), prometheus.CounterValue, func(a *Air) float64 { return float64(a.Expired) }},
		{airDesc("overrun_total", "Payloads dropped because clients or the bus were too slow."), prometheus.CounterValue, func(a *Air) float64 { return float64(a.Overrun) }},
		{airDesc("late_total", "Advertisements of proxies that are not online."), prometheus.CounterValue, func(a *Air) float64 { return float64(a.Late) }},
		{airDesc("oversized_total", "Advertisements too long to be true."), prometheus.CounterValue, func(a *Air) float64 { return float64(a.Oversized) }},
		{airDesc("crowded_total", "Advertisements of unknown devices that came faster than is believable."), prometheus.CounterValue, func(a *Air) float64 { return float64(a.Crowded) }},
	}
)

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// ours is the number of slots that this program uses.
func (p *Proxy) ours() int {
	n := 0
	for _, s := range p.Slots {
		if s.State != slotForeign {
			n++
		}
	}
	return n
}

func (c sourceCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- stateDesc
	ch <- infoDesc
	for _, m := range proxyMetrics {
		ch <- m.desc
	}
	for _, m := range airMetrics {
		ch <- m.desc
	}
	for _, m := range shareMetrics {
		ch <- m.desc
	}
	for _, m := range streamMetrics {
		ch <- m.desc
	}
	for _, m := range controllerMetrics {
		ch <- m.desc
	}
	ch <- connectsDesc
	ch <- endsDesc
	ch <- lostDesc
}

func (c sourceCollector) Collect(ch chan<- prometheus.Metric) {
	seen := map[string]bool{}
	for _, p := range c.src.Proxies() {
		name := unique(seen, text(p.Name))
		ch <- prometheus.MustNewConstMetric(infoDesc, prometheus.GaugeValue, 1, name, text(p.Host), text(p.Version), text(p.ScanMode))
		for _, s := range states {
			ch <- prometheus.MustNewConstMetric(stateDesc, prometheus.GaugeValue, one(s == p.State), name, s)
		}
		for _, m := range proxyMetrics {
			if v, ok := m.value(&p); ok {
				ch <- prometheus.MustNewConstMetric(m.desc, m.typ, v, name)
			}
		}
	}
	c.collectShares(ch)
	c.collectStream(ch)
	c.collectControllers(ch)
	out := c.src.Outcomes()
	for result, n := range out.Connects {
		ch <- prometheus.MustNewConstMetric(connectsDesc, prometheus.CounterValue, float64(n), result)
	}
	for reason, n := range out.Ends {
		ch <- prometheus.MustNewConstMetric(endsDesc, prometheus.CounterValue, float64(n), reason)
	}
	ch <- prometheus.MustNewConstMetric(lostDesc, prometheus.CounterValue, float64(out.ValuesLost))
	air := c.src.Air()
	for _, m := range airMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.typ, m.value(&air))
	}
}

// unique adds a number to a name that was used before: Prometheus refuses an answer that has the same labels twice.
func unique(seen map[string]bool, name string) string {
	out := name
	for i := 2; seen[out]; i++ {
		out = fmt.Sprintf("%s-%d", name, i)
	}
	seen[out] = true
	return out
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
