package stream

import (
	"context"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

// publishAcknowledged writes the records with QoS 1. Each may be acknowledged later; as many as the broker allows are under
// way. What a session that ends leaves unacknowledged goes back into the queue.
func (c *session) publishAcknowledged(ctx context.Context) error {
	for i := range c.records {
		err := c.launch(ctx, &c.records[i])
		if err != nil {
			c.wire.uncork()
			c.s.in.giveBack(c.records[i:])
			return err
		}
	}
	c.wire.uncork()
	return c.wire.failure()
}

// launch writes the messages of one record. Where that fails the record is not among those under way.
func (c *session) launch(ctx context.Context, r *record) error {
	c.parts, c.bytes, c.tooLong = c.parts[:0], 0, false
	c.scratch = c.s.encoder.each(r, c.scratch, c.emit)
	if c.tooLong || len(c.parts) == 0 {
		c.s.refused.Add(1)
		return nil
	}
	for i, p := range c.parts {
		for len(c.flights) >= c.window {
			c.wire.uncork()
			if err := c.await(ctx); err != nil {
				return err
			}
		}
		c.wire.cork()
		f := flight{last: i == len(c.parts)-1, bytes: len(p.payload), answer: make(chan packets.ControlPacket, 1)}
		if f.last {
			f.record = *r
		}
		message := (&paho.Publish{QoS: 1, Topic: p.topic, Payload: p.payload}).Packet()
		if err := c.session.AddToSession(ctx, message, f.answer); err != nil {
			return err
		}
		c.flights = append(c.flights, f)
		if f.last {
			c.s.unacked.Add(1)
		}
		if _, err := message.WriteTo(c.wire); err != nil {
			if f.last { // it goes back with the others that are not acknowledged
				c.flights = c.flights[:len(c.flights)-1]
				c.s.unacked.Add(-1)
			}
			return err
		}
	}
	return nil
}

// await waits for the next acknowledgement.
func (c *session) await(ctx context.Context) error {
	select {
	case a := <-c.flights[0].answer:
		c.answered(a)
		return nil
	case err := <-c.down:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answered counts the oldest message that was under way. A broker acknowledges in order (MQTT 5, 4.6).
func (c *session) answered(a packets.ControlPacket) {
	f := c.flights[0]
	c.flights = c.flights[1:]
	if ack, ok := a.Content.(*packets.Puback); ok && ack.ReasonCode >= 0x80 {
		c.spoilt = true
		c.s.complain(refused(ack.ReasonCode, errRefused))
	}
	if !c.spoilt {
		c.s.bytes.Add(uint64(f.bytes))
	}
	if !f.last {
		return
	}
	c.s.unacked.Add(-1)
	if c.spoilt {
		c.s.refused.Add(1)
	} else {
		c.s.published.Add(1)
	}
	c.spoilt = false
}
