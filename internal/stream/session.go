package stream

import (
	"context"
	"errors"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
)

const (
	// gatherTime is how long a message may wait for others, so that all go to the broker with one wake-up and one write.
	// A proxy gathers for as long.
	gatherTime = 100 * time.Millisecond
	// gatherMost is how many do not wait; takeMost how many are encoded at a time.
	gatherMost, takeMost = 1024, 256
	// statesEvery is how often the states of proxies are looked at.
	statesEvery = 5 * time.Second
	// maxInflight is how many messages of QoS 1 wait for their acknowledgement.
	maxInflight = 64
	// leaveTime is how long the end may take.
	leaveTime = 200 * time.Millisecond
)

// session is one session with a broker. It belongs to the goroutine that serves it, but for lost.
type session struct {
	s         *streamer
	wire      *wire
	client    *paho.Client
	session   *state.State
	down      chan error // capacity 1: why it ended
	maxPacket int        // bytes, 0: any
	window    int
	noQoS1    bool

	records []record
	scratch []byte
	out     []byte // packets
	bytes   int    // of payloads in out
	tooLong bool   // the present record is
	parts   []part
	emit    func(topic, payload []byte) // collect, made once
	flights []flight
	spoilt  bool // a part of the present record was refused
}

// part is one message of a record, with QoS 1.
type part struct {
	topic   string
	payload []byte
}

// flight is one message of QoS 1 that is not acknowledged.
type flight struct {
	record record
	last   bool // of the record's messages
	bytes  int
	answer chan packets.ControlPacket
}

// lost ends the session, with the first reason that is known.
func (c *session) lost(err error) {
	select {
	case c.down <- err:
	default:
	}
}

// serve publishes until ctx ends, then it returns nil, or until the session ends.
func (c *session) serve(ctx context.Context) error {
	defer c.close()
	in := c.s.in
	tick := time.NewTicker(statesEvery)
	defer tick.Stop()
	ripe := time.NewTimer(time.Hour)
	defer ripe.Stop()
	c.records = make([]record, 0, takeMost)
	c.s.states.said = nil
	if err := c.publishStates(); err != nil {
		return c.reason(err)
	}
	for {
		if wait := in.ripen(time.Now()); wait > 0 {
			ripe.Reset(wait)
		}
		if err := c.drain(ctx); err != nil {
			return c.reason(err)
		}
		var answer chan packets.ControlPacket
		if len(c.flights) > 0 {
			answer = c.flights[0].answer
		}
		var err error
		select {
		case <-ctx.Done():
			c.leave()
			return nil
		case err = <-c.down:
		case <-in.wake:
		case a := <-answer:
			c.answered(a)
		case <-ripe.C:
		case <-c.s.statesChanged:
			err = c.publishStates()
		case <-tick.C:
			err = c.publishStates()
		}
		if err != nil {
			return c.reason(err)
		}
	}
}

// reason prefers what the broker said to what the socket did then.
func (c *session) reason(err error) error {
	if errors.Is(err, errRefused) {
		return err
	}
	select {
	case why := <-c.down:
		return why
	case <-time.After(leaveTime): // paho may be about to tell
		return err
	}
}

// close gives back what is not acknowledged.
func (c *session) close() {
	_ = c.wire.Close()
	<-c.client.Done()
	var back []record
	for i := range c.flights {
		if c.flights[i].last {
			back = append(back, c.flights[i].record)
		}
	}
	c.flights = nil
	c.s.unacked.Store(0)
	c.s.in.giveBack(back)
}

// drain publishes all that waits.
func (c *session) drain(ctx context.Context) error {
	c.s.encoder.begin(time.Now())
	for {
		if c.records = c.s.in.take(c.records); len(c.records) == 0 {
			return nil
		}
		var err error
		if c.s.m.QoS == 1 && !c.noQoS1 {
			err = c.publishAcknowledged(ctx)
		} else {
			err = c.publish()
		}
		if err != nil {
			return err
		}
	}
}

// collect takes one message of the present record.
func (c *session) collect(topic, payload []byte) {
	if c.maxPacket > 0 && len(topic)+len(payload)+16 > c.maxPacket {
		c.tooLong = true
		return
	}
	c.bytes += len(payload)
	if c.s.m.QoS == 1 && !c.noQoS1 {
		c.parts = append(c.parts, part{string(topic), append([]byte(nil), payload...)})
		return
	}
	c.out = appendPublish(c.out, topic, payload, false)
}

// publish writes the records with QoS 0, many packets at once.
func (c *session) publish() error {
	c.out, c.bytes = c.out[:0], 0
	tooLong := 0
	for i := range c.records {
		c.tooLong = false
		c.scratch = c.s.encoder.each(&c.records[i], c.scratch, c.emit)
		if c.tooLong {
			tooLong++
		}
		if len(c.out) >= writeAt {
			c.write()
		}
	}
	c.write()
	if err := c.wire.failure(); err != nil {
		c.s.in.lost(len(c.records))
		return err
	}
	c.s.published.Add(uint64(len(c.records) - tooLong))
	c.s.refused.Add(uint64(tooLong))
	c.s.bytes.Add(uint64(c.bytes))
	return nil
}

// write hands packets to the socket.
func (c *session) write() {
	c.wire.Lock()
	c.wire.out = append(c.wire.out, c.out...)
	c.wire.Unlock()
	c.out = c.out[:0]
}

// publishStates writes the retained messages that changed. They are QoS 0: what a session that ends may lose is written
// again in the next.
func (c *session) publishStates() error {
	c.out = c.out[:0]
	c.s.states.changed(func(topic, payload string) {
		c.out = appendPublish(c.out, []byte(topic), []byte(payload), true)
	})
	c.write()
	return c.wire.failure()
}

// leave publishes what is there still and says that the daemon is offline, as quickly as the broker takes it.
func (c *session) leave() {
	c.wire.hurry(leaveTime)
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	if c.drain(ctx) != nil {
		return
	}
	for len(c.flights) > 0 && c.await(ctx) == nil {
		continue
	}
	topic, payload := c.s.states.daemon(offline)
	c.out = appendPublish(c.out[:0], []byte(topic), []byte(payload), true)
	c.write()
	_ = c.client.Disconnect(&paho.Disconnect{ReasonCode: packets.DisconnectNormalDisconnection})
}
