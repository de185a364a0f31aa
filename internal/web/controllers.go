package web

import (
	"time"

	"bluez-esphome/internal/ble"

	"github.com/prometheus/client_golang/prometheus"
)

// Controller is one virtual Bluetooth controller.
type Controller struct {
	Name    string // its transport
	Address ble.Address
	Host    string    // the host that uses it; empty: none
	Since   time.Time // when the host came

	Scanning, Active bool
	Links            int
	Connecting       bool // its host waits for a connection
	// Reports and Dropped count the advertisements that hosts were sent and those that they lost because they read too
	// slowly. Lost counts how often the bytes of a host were no packets.
	Reports, Dropped, Lost uint64
}

func controllerDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_controller_"+name, help, []string{"controller"}, nil)
}

var controllerMetrics = []struct {
	desc  *prometheus.Desc
	typ   prometheus.ValueType
	value func(c *Controller) float64
}{
	{controllerDesc("host", "1 while a host uses the controller."), prometheus.GaugeValue, func(c *Controller) float64 { return one(c.Host != "") }},
	{controllerDesc("scanning", "1 while its host scans."), prometheus.GaugeValue, func(c *Controller) float64 { return one(c.Scanning) }},
	{controllerDesc("links", "Links of its host."), prometheus.GaugeValue, func(c *Controller) float64 { return float64(c.Links) }},
	{controllerDesc("reports_total", "Advertisements that hosts were sent."), prometheus.CounterValue, func(c *Controller) float64 { return float64(c.Reports) }},
	{controllerDesc("dropped_reports_total", "Advertisements that hosts lost because they read too slowly."), prometheus.CounterValue,
		func(c *Controller) float64 { return float64(c.Dropped) }},
	{controllerDesc("lost_frames_total", "Times that the bytes of a host were no packets."), prometheus.CounterValue, func(c *Controller) float64 { return float64(c.Lost) }},
}

func (c sourceCollector) collectControllers(ch chan<- prometheus.Metric) {
	seen := map[string]bool{}
	for _, con := range c.src.Controllers() {
		name := unique(seen, text(con.Name))
		for _, m := range controllerMetrics {
			ch <- prometheus.MustNewConstMetric(m.desc, m.typ, m.value(&con), name)
		}
	}
}

// pageController is a controller as the page gets it. Since is in milliseconds before the snapshot, -1 without a host.
type pageController struct {
	Name       string `json:"name"`
	Address    string `json:"address"`
	Since      int64  `json:"since"`
	Scan       string `json:"scan"` // active, passive or empty
	Links      int    `json:"links"`
	Connecting bool   `json:"connecting,omitempty"`
	Dropped    uint64 `json:"dropped,omitempty"`
	Lost       uint64 `json:"lost,omitempty"`
}

// pageControllers describes controllers. It rounds the time that a host has been there down to minutes: otherwise every
// event would send it again.
func pageControllers(list []Controller, now time.Time) []pageController {
	out := []pageController{}
	for _, c := range list {
		p := pageController{Name: text(c.Name), Address: c.Address.String(), Since: -1, Links: c.Links, Connecting: c.Connecting, Dropped: c.Dropped, Lost: c.Lost}
		if c.Host != "" {
			p.Since = now.Sub(c.Since).Truncate(time.Minute).Milliseconds()
		}
		switch {
		case c.Active:
			p.Scan = "active"
		case c.Scanning:
			p.Scan = "passive"
		}
		out = append(out, p)
	}
	return out
}
