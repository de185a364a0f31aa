package proxysim

import (
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
)

// rawPeer is a client that takes messages of every kind as they are.
type rawPeer struct {
	t    *testing.T
	conn net.Conn
	f    *apiwire.Framer
	msgs chan rawMessage
}

type rawMessage struct {
	id      apiwire.ID
	payload []byte
}

// dialRaw connects a client, in Noise if there is a key, and says hello.
func (w *world) dialRaw(p *Proxy, key *[32]byte) (*rawPeer, error) {
	w.t.Helper()
	client, server := net.Pipe()
	c := &rawPeer{t: w.t, conn: client, msgs: make(chan rawMessage, 1000)}
	w.wg.Go(func() { _ = p.ServeConn(w.ctx, server) })
	c.f = apiwire.NewPlain(client)
	if key != nil {
		var err error
		c.f, _, err = apiwire.ClientHandshake(client, apiwire.ClientNoise{PSK: *key})
		if err != nil {
			_ = client.Close()
			return nil, err
		}
	}
	w.wg.Go(func() {
		defer close(c.msgs)
		for {
			id, payload, err := c.f.Read()
			if err != nil {
				return
			}
			c.msgs <- rawMessage{id, append([]byte(nil), payload...)}
		}
	})
	c.sendMessage(&apipb.HelloRequest{ApiVersionMajor: 1, ApiVersionMinor: 19})
	return c, nil
}

func (c *rawPeer) send(id apiwire.ID, payload []byte) {
	c.t.Helper()
	buf, err := c.f.Append(nil, id, payload)
	if err == nil {
		_, err = c.conn.Write(buf)
	}
	if err != nil {
		c.t.Fatalf("cannot send %v: %v", id, err)
	}
}

func (c *rawPeer) sendMessage(m proto.Message) {
	c.t.Helper()
	payload, err := proto.Marshal(m)
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(apiwire.IDOf(m), payload)
}

// next takes the next message, which has to be id; the hello may come before it.
func (c *rawPeer) next(id apiwire.ID) []byte {
	c.t.Helper()
	for {
		select {
		case m, ok := <-c.msgs:
			if !ok {
				c.t.Fatalf("the connection ended before %v", id)
			}
			if m.id == id {
				return m.payload
			}
			if m.id != apiwire.HelloResponse {
				c.t.Fatalf("got %v, want %v", m.id, id)
			}
		case <-time.After(2 * time.Minute):
			c.t.Fatalf("no %v", id)
		}
	}
}

func (c *rawPeer) ended() bool {
	select {
	case _, ok := <-c.msgs:
		return !ok
	case <-time.After(10 * time.Second):
		return false
	}
}
