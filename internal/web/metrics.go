package web

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"bluez-esphome/internal/lockorder"
)

// namespace is the beginning of the names of all our metrics.
const namespace = "bluez_esphome"

// maxMethods bounds the pairs of method and error that have a counter; there are about 80 methods.
const maxMethods = 1024

// Metrics has the metrics that are counted as things happen; all others are read from the Source. All methods are
// goroutine-safe and cheap, and none is called on the path of advertisements. Make it with NewMetrics.
type Metrics struct {
	registry *prometheus.Registry
	connect  *prometheus.HistogramVec
	read     *prometheus.HistogramVec
	write    *prometheus.HistogramVec
	delay    prometheus.Histogram

	mu    lockorder.Mutex[lockorder.Leaf]
	calls map[call]*tally // under mu
}

type call struct{ iface, member, err string }

type tally struct{ n uint64 }

// NewMetrics makes Metrics with a registry, which has the metrics of the process as well.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), calls: map[call]*tally{}}
	vec := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, []string{"result"})
		for _, r := range []string{resultOK, resultError} {
			v.WithLabelValues(r) // present from the start: a rate needs a zero to begin with
		}
		m.registry.MustRegister(v)
		return v
	}
	m.connect = vec("connect_seconds", "Time from a request to connect to a device until the link is up or the attempt is given up.",
		[]float64{.1, .25, .5, 1, 2, 3, 5, 8, 12, 20, 30})
	gatt := []float64{.005, .01, .025, .05, .1, .2, .4, .8, 1.6, 5, 30}
	m.read = vec("read_seconds", "Time of a read of a characteristic or descriptor, the wait for earlier operations on the link included.", gatt)
	m.write = vec("write_seconds", "Time of a write with response, the wait for earlier operations on the link included.", gatt)
	m.delay = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "advert_signal_seconds",
		Help:    "Age of the oldest advertisement that a D-Bus signal tells of, when the signal is handed to the bus.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1},
	})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the label tells the version.", ConstLabels: prometheus.Labels{"version": text(version)},
	})
	build.Set(1)
	m.registry.MustRegister(m.delay, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), callCollector{m})
	return m
}

// Results of an operation, as a label.
const (
	resultOK    = "ok"
	resultError = "error"
)

func result(err error) string {
	if err != nil {
		return resultError
	}
	return resultOK
}

// Connected counts a call of Connect and how long it took.
func (m *Metrics) Connected(took time.Duration, err error) {
	m.connect.WithLabelValues(result(err)).Observe(took.Seconds())
}

// Read counts a read and how long it took.
func (m *Metrics) Read(took time.Duration, err error) {
	m.read.WithLabelValues(result(err)).Observe(took.Seconds())
}

// Written counts a write with response and how long it took.
func (m *Metrics) Written(took time.Duration, err error) {
	m.write.WithLabelValues(result(err)).Observe(took.Seconds())
}

// Signalled counts a D-Bus signal; delay is the age of the oldest advertisement that it tells of.
func (m *Metrics) Signalled(delay time.Duration) { m.delay.Observe(delay.Seconds()) }

// Answered counts a call of a D-Bus method and its answer. errName is empty for a success. An empty member stands for
// all methods that do not exist.
func (m *Metrics) Answered(iface, member, errName string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := call{iface, member, errName}
	t := m.calls[c]
	if t == nil {
		if len(m.calls) >= maxMethods {
			c = call{"", "", errName}
			if m.calls[c] == nil && len(m.calls) >= 2*maxMethods {
				return
			}
		}
		t = m.calls[c]
		if t == nil {
			t = &tally{}
			m.calls[c] = t
		}
	}
	t.n++
}

// callCollector gives Prometheus the counters of calls.
type callCollector struct{ m *Metrics }

var (
	callsDesc  = prometheus.NewDesc(namespace+"_dbus_calls_total", "D-Bus method calls that were answered.", []string{"interface", "method"}, nil)
	errorsDesc = prometheus.NewDesc(namespace+"_dbus_errors_total", "D-Bus method calls that were answered with an error.", []string{"interface", "method", "error"}, nil)
)

func (c callCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- callsDesc
	ch <- errorsDesc
}

func (c callCollector) Collect(ch chan<- prometheus.Metric) {
	c.m.mu.Lock()
	calls := map[call]uint64{}
	for k, t := range c.m.calls {
		if k.member == "" {
			k.iface, k.member = "unknown", "unknown"
		}
		calls[call{k.iface, k.member, ""}] += t.n
		if k.err != "" {
			calls[k] += t.n
		}
	}
	c.m.mu.Unlock()
	for k, n := range calls {
		if k.err == "" {
			ch <- prometheus.MustNewConstMetric(callsDesc, prometheus.CounterValue, float64(n), text(k.iface), text(k.member))
		} else {
			ch <- prometheus.MustNewConstMetric(errorsDesc, prometheus.CounterValue, float64(n), text(k.iface), text(k.member), text(k.err))
		}
	}
}
