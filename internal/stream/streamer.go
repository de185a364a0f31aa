package stream

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/lockorder"
)

const (
	// firstRetry and lastRetry are between which times, doubled with each failure, it waits to try again.
	firstRetry, lastRetry = time.Second, time.Minute
	// goodSession is how long a session lasts after which it is tried again quickly.
	goodSession = 30 * time.Second
)

// streamer publishes to one broker.
type streamer struct {
	m             config.MQTT
	cfg           Config
	in            *intake
	encoder       *encoder // of the goroutine that runs, as states
	states        states
	statesChanged chan struct{} // capacity 1

	published, refused, bytes atomic.Uint64
	unacked                   atomic.Int64

	mu       lockorder.Mutex[lockorder.Leaf]
	state    State
	since    time.Time
	last     string // error
	sessions uint64
}

func newStreamer(m config.MQTT, cfg Config) *streamer {
	now := time.Now()
	return &streamer{
		m: m, cfg: cfg, encoder: newEncoder(m, cfg), states: states{m: m, cfg: cfg, since: now},
		in:            newIntake(newFilter(m.Filter), m.AtMostEvery, m.AtLeastEvery, m.Queue, cfg.MaxDevices),
		statesChanged: make(chan struct{}, 1), state: Connecting, since: now,
	}
}

// Run keeps a session with the broker until ctx ends.
func (s *streamer) Run(ctx context.Context) {
	log := s.cfg.Logger.With("broker", brokerURL(s.m))
	told := ""
	for retry := firstRetry; ctx.Err() == nil; {
		s.become(Connecting, nil)
		c, err := s.connect(ctx)
		if err == nil {
			log.Info("Publishing to the broker", "topic", s.m.Topic, "format", string(s.m.Format))
			if c.noQoS1 && s.m.QoS == 1 {
				log.Warn("The broker takes QoS 0 only: messages may be lost with a session", "key", "stream.mqtt.qos")
			}
			told = ""
			s.become(Connected, nil)
			begin := time.Now()
			err = c.serve(ctx)
			if time.Since(begin) >= goodSession {
				retry = firstRetry
			}
		}
		if ctx.Err() != nil || err == nil {
			return
		}
		s.become(Waiting, err)
		if text := err.Error(); text != told {
			told = text
			log.Warn("No session with the broker: messages wait, then the oldest are dropped", "error", err, "again_in", retry.Round(time.Second))
		}
		select {
		case <-time.After(retry/2 + rand.N(retry/2)): // daemons that lost one broker come back one by one
		case <-ctx.Done():
		}
		retry = min(2*retry, lastRetry)
	}
}

// become notes how it stands with the broker; err nil leaves the last error.
func (s *streamer) become(state State, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.since = state, time.Now()
	if state == Connected {
		s.sessions++
	}
	if err != nil {
		s.last = err.Error()
	}
}

// complain notes what went wrong though the session goes on.
func (s *streamer) complain(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = err.Error()
}

func (s *streamer) status() Status {
	s.mu.Lock()
	st := Status{
		State: s.state, Broker: brokerURL(s.m), Topic: s.m.Topic, Format: string(s.m.Format), Since: s.since, LastError: s.last,
		Sessions: s.sessions, Limit: s.m.Queue,
	}
	s.mu.Unlock()
	st.Published, st.Refused, st.Bytes = s.published.Load(), s.refused.Load(), s.bytes.Load()
	st.Unacked = int(s.unacked.Load())
	st.Offered, st.Dropped, st.Queued = s.in.counts()
	return st
}
