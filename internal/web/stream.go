package web

import "github.com/prometheus/client_golang/prometheus"

// Stream is the stream to a broker. Its counts are of messages.
type Stream struct {
	Connected                    bool
	Sessions                     uint64
	Offered                      uint64
	Published, Dropped, Refused  uint64
	Queued                       int
	Bytes                        uint64
	State, Broker, Topic, Remark string // for people; Remark is what went wrong last, empty: nothing
}

func streamDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_stream_"+name, help, nil, nil)
}

var streamMetrics = []struct {
	desc  *prometheus.Desc
	typ   prometheus.ValueType
	value func(s *Stream) float64
}{
	{streamDesc("connected", "1 while there is a session with the broker."), prometheus.GaugeValue, func(s *Stream) float64 { return one(s.Connected) }},
	{streamDesc("sessions_total", "Sessions with the broker that were up."), prometheus.CounterValue, func(s *Stream) float64 { return float64(s.Sessions) }},
	{streamDesc("offered_total", "Messages that were to be published: published, dropped, refused, and those that wait."), prometheus.CounterValue, func(s *Stream) float64 { return float64(s.Offered) }},
	{streamDesc("published_total", "Messages that were handed to the broker."), prometheus.CounterValue, func(s *Stream) float64 { return float64(s.Published) }},
	{streamDesc("dropped_total", "Messages that had to make room, or were lost with a session."), prometheus.CounterValue, func(s *Stream) float64 { return float64(s.Dropped) }},
	{streamDesc("refused_total", "Messages that the broker did not take."), prometheus.CounterValue, func(s *Stream) float64 { return float64(s.Refused) }},
	{streamDesc("queued", "Messages that wait for the broker."), prometheus.GaugeValue, func(s *Stream) float64 { return float64(s.Queued) }},
	{streamDesc("payload_bytes_total", "Bytes of messages that were handed to the broker, without topics."), prometheus.CounterValue, func(s *Stream) float64 { return float64(s.Bytes) }},
}

// collectStream tells of the stream, if there is one.
func (c sourceCollector) collectStream(ch chan<- prometheus.Metric) {
	s, on := c.src.Stream()
	if !on {
		return
	}
	for _, m := range streamMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.typ, m.value(&s))
	}
}

// pageStream is the stream as the page gets it.
type pageStream struct {
	State     string `json:"state"`
	Broker    string `json:"broker"`
	Topic     string `json:"topic"`
	Remark    string `json:"remark,omitempty"`
	Published uint64 `json:"published"`
	Dropped   uint64 `json:"dropped"`
	Refused   uint64 `json:"refused"`
	Queued    int    `json:"queued"`
}

func pageStreamOf(s *Stream) *pageStream {
	return &pageStream{
		State: text(s.State), Broker: text(s.Broker), Topic: text(s.Topic), Remark: message(s.Remark), Published: s.Published, Dropped: s.Dropped,
		Refused: s.Refused, Queued: s.Queued,
	}
}
