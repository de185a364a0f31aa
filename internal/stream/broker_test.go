package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"

	"github.com/eclipse/paho.golang/packets"
)

// fakeBroker takes sessions over pipes, whose buffers are none: what it does not read is not written.
type fakeBroker struct {
	mu       sync.Mutex
	old      bool // it speaks MQTT 3.1.1
	refuse   byte // reason of CONNACK, 0: none
	away     bool
	stalled  chan struct{} // not nil: it reads nothing until that is closed
	noAcks   bool
	ackWith  byte // reason of PUBACK
	maximum  uint16
	conns    []net.Conn
	connects []*packets.Connect
	got      []*packets.Publish
}

func (b *fakeBroker) dial(context.Context, string) (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	b.conns = append(b.conns, ours)
	go b.serve(ours)
	return theirs, nil
}

func (b *fakeBroker) serve(c net.Conn) {
	defer c.Close()
	for {
		b.mu.Lock()
		stalled := b.stalled
		b.mu.Unlock()
		if stalled != nil {
			<-stalled
		}
		p, err := packets.ReadPacket(c)
		if err != nil {
			return
		}
		var answer *packets.ControlPacket
		b.mu.Lock()
		switch p.Type {
		case packets.CONNECT:
			if b.old {
				b.mu.Unlock()
				_, _ = c.Write([]byte{0x20, 2, 0, 1})
				return
			}
			b.connects = append(b.connects, p.Content.(*packets.Connect))
			answer = packets.NewControlPacket(packets.CONNACK)
			ack := answer.Content.(*packets.Connack)
			ack.ReasonCode = b.refuse
			if b.maximum > 0 {
				ack.Properties.ReceiveMaximum = &b.maximum
			}
		case packets.PUBLISH:
			m := p.Content.(*packets.Publish)
			b.got = append(b.got, m)
			if m.QoS == 1 && !b.noAcks {
				answer = packets.NewControlPacket(packets.PUBACK)
				answer.Content.(*packets.Puback).PacketID = m.PacketID
				answer.Content.(*packets.Puback).ReasonCode = b.ackWith
			}
		case packets.PINGREQ:
			answer = packets.NewControlPacket(packets.PINGRESP)
		case packets.DISCONNECT:
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		if answer != nil {
			if _, err := answer.WriteTo(c); err != nil {
				return
			}
		}
	}
}

// set changes the broker.
func (b *fakeBroker) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// kill ends all sessions.
func (b *fakeBroker) kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		_ = c.Close()
	}
	b.conns = nil
}

// topics are those of the messages so far, without the common beginning.
func (b *fakeBroker) topics() (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.got {
		out = append(out, strings.TrimPrefix(m.Topic, "air/"))
	}
	return out
}

// devices counts the messages of devices.
func (b *fakeBroker) devices() (n int) {
	for _, t := range b.topics() {
		if strings.HasPrefix(t, "device/") {
			n++
		}
	}
	return n
}

// last is the newest message of a topic.
func (b *fakeBroker) last(t *testing.T, topic string) (payload string, retain bool) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.got) - 1; i >= 0; i-- {
		if b.got[i].Topic == topic {
			return string(b.got[i].Payload), b.got[i].Retain
		}
	}
	t.Fatalf("nothing came of %s", topic)
	return "", false
}

// world is a Manager at work with a fakeBroker, in a bubble of synctest.
type world struct {
	*Manager
	b       *fakeBroker
	proxies atomic.Pointer[[]Proxy]
}

// plain is the configuration of most tests.
func plain() config.MQTT {
	return config.MQTT{Host: "broker", Port: 1883, Topic: "air", Site: "here", Format: config.StreamJSON, Queue: 1000}
}

// run calls f with a Manager at work.
func run(t *testing.T, m config.MQTT, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{b: &fakeBroker{}}
		w.proxies.Store(&[]Proxy{{Name: "kitchen", State: "online", Slots: 3, FreeSlots: 2}})
		w.Manager = New(Config{
			Version: "1", Installation: 0x2A0000000001, MaxDevices: 1000, Dial: w.b.dial,
			Hearing: func(_ ble.Address, _ time.Time, out []Hearing) ([]Hearing, string) {
				return append(out, Hearing{"K", -50}, Hearing{"H", 0}), ""
			},
			Label:   func(id string) string { return map[string]string{"K": "kitchen", "H": `h"all`}[id] },
			Proxies: func() []Proxy { return *w.proxies.Load() },
		})
		w.Apply(m)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			w.b.kill()
		}()
		f(t, w)
	})
}

// hear has a device say something.
func (w *world) hear(a ble.Address, data ...byte) {
	w.Adverts(time.Now(), []ble.RawAdvert{{Address: a, Type: ble.Random, RSSI: -60, Data: data}})
}

// settle waits until all that is under way is done.
func settle() {
	time.Sleep(2 * gatherTime)
	synctest.Wait()
}

// adds holds the counts against each other once nothing is under way.
func (w *world) adds(t *testing.T) Status {
	t.Helper()
	st, _ := w.Status()
	if sum := st.Published + st.Dropped + st.Refused + uint64(st.Queued) + uint64(st.Unacked); sum != st.Offered {
		t.Errorf("the counts do not add up: %+v", st)
	}
	return st
}

func field(t *testing.T, payload, name string) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(payload), &m); err != nil {
		t.Fatalf("%s: %v", payload, err)
	}
	return fmt.Sprint(m[name])
}
