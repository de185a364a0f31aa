package share

import (
	"fmt"
	"log/slog"
	"net"
	"testing"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
)

// caller is a connection from an address that notes that it was closed.
type caller struct {
	net.Conn
	from   string
	closed bool
}

func (c *caller) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(c.from), Port: 4242}
}

func (c *caller) Close() error {
	c.closed = true
	return nil
}

func newDoor() *door { return &door{log: slog.New(slog.DiscardHandler)} }

// However many connections come from one address, one from another keeps its place until it has shown the key (issue
// 17, R9): at 3,000 connections a second these are five seconds.
func TestDoorKeepsTheOneFromElsewhere(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, attacker, host string }{
		{"one address", "192.0.2.66", "192.0.2.1"},
		{"a network of IPv6", "2001:db8:1::%x", "2001:db8:2::1"},
		{"a neighbour in the network of IPv6", "2001:db8:1::66", "2001:db8:1::1"},
		{"a neighbour on the link of IPv6", "fe80::66", "fe80::1"},
		{"IPv4 in IPv6", "::ffff:192.0.2.66", "192.0.2.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := newDoor()
			attack := func(n int) (list []*caller) {
				for i := range n {
					from := tc.attacker
					if tc.name == "a network of IPv6" {
						from = fmt.Sprintf(from, i%0xffff+1)
					}
					c := &caller{from: from}
					list = append(list, c)
					d.knock(c)
				}
				return list
			}
			attack(2 * maxStrangers)
			host := &caller{from: tc.host}
			v := d.knock(host)
			list := attack(15000)
			if host.closed {
				t.Fatal("the host made room for the attacker")
			}
			if !d.enter(v) {
				t.Error("the host is not let in")
			}
			open := 0
			for _, c := range list {
				if !c.closed {
					open++
				}
			}
			if open > maxStrangers {
				t.Errorf("%d strangers are let in", open)
			}
			attack(15000)
			if host.closed || !d.enter(v) {
				t.Error("a host that has shown the key made room")
			}
		})
	}
}

// Hosts that hold all places make room for one from an address that has fewer (issue 17, R13).
func TestDoorSharesPlaces(t *testing.T) {
	t.Parallel()
	d := newDoor()
	enter := func(from string) (*caller, bool) {
		c := &caller{from: from}
		return c, d.enter(d.knock(c))
	}
	for i := range maxHosts {
		if _, ok := enter(fmt.Sprintf("192.0.2.%d", 100+i/maxHostsEach)); !ok {
			t.Fatalf("host %d is not let in", i)
		}
	}
	if _, ok := enter("192.0.2.100"); ok {
		t.Error("one address has more than its places")
	}
	first, ok := enter("192.0.2.1")
	if !ok {
		t.Fatal("a host from elsewhere is not let in")
	}
	for i := range 30 {
		if _, ok := enter(fmt.Sprintf("198.51.100.%d", i+1)); !ok {
			t.Fatalf("host %d from elsewhere is not let in", i)
		}
	}
	if first.closed {
		t.Error("the only host from an address made room")
	}
	// Neighbours in one network of IPv6 are told apart by address, however few places the rest of the world has.
	d = newDoor()
	for i := range maxHosts {
		enter(fmt.Sprintf("2001:db8:1::%d", 100+i/maxHostsEach))
	}
	if first, ok = enter("2001:db8:1::1"); !ok {
		t.Error("a neighbour is not let in")
	}
	for i := range 30 {
		if _, ok := enter(fmt.Sprintf("2001:db8:1::%d:1", i+1)); !ok {
			t.Fatalf("neighbour %d is not let in", i)
		}
	}
	if _, ok := enter("2001:db8:2::1"); !ok || first.closed {
		t.Errorf("another network is let in: %v; the only host of a neighbour made room: %v", ok, first.closed)
	}
	// A network of IPv6 that has all places has more than another one, although each of its addresses has one.
	d = newDoor()
	for i := range maxHosts {
		enter(fmt.Sprintf("2001:db8:1::%d", i+1))
	}
	if _, ok := enter("2001:db8:1::f:1"); ok {
		t.Error("a host made room for a neighbour that has as many")
	}
	if _, ok := enter("2001:db8:2::1"); !ok {
		t.Error("a whole network keeps another one out")
	}
	// Where nobody has more than the newcomer would, the newcomer goes.
	d = newDoor()
	for i := range maxHosts {
		enter(fmt.Sprintf("198.51.100.%d", i+1))
	}
	if _, ok := enter("192.0.2.1"); ok {
		t.Error("a host made room for another that is as much of a crowd")
	}
}

// With a key, who has shown it keeps the place before it has said hello, and who has not does not by saying hello.
func TestHandshakeIsProof(t *testing.T) {
	b := newBench(t)
	b.p.Down()
	cfg := b.s.cfg
	b.s.Close()
	key := [32]byte{1, 2, 3}
	cfg.PSK = &key
	b.s = New(cfg)
	t.Cleanup(b.s.Close)
	var err error
	b.p, err = b.s.Up(testInfo)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", fmt.Sprint(b.port))
	dial := func() net.Conn {
		for range 1000 {
			if conn, err := net.Dial("tcp", address); err == nil {
				t.Cleanup(func() { _ = conn.Close() })
				return conn
			}
		}
		t.Fatal("nobody listens")
		return nil
	}
	conn := dial()
	f, _, err := apiwire.ClientHandshake(conn, apiwire.ClientNoise{PSK: key})
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, conn: conn, f: f}
	c.send(&apipb.PingRequest{})
	want[*apipb.PingResponse](c) // the handshake is over on the other side as well
	for range 3 * maxStrangers { // from the same address, so that only the handshake tells them apart
		dial()
	}
	c.send(&apipb.HelloRequest{ClientInfo: "late"})
	if err := c.greeted(); err != nil {
		t.Errorf("who has shown the key made room for strangers: %v", err)
	}
}
