package mdns

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	pion "github.com/pion/mdns/v2"
	"golang.org/x/net/ipv4"
)

// limit is how long a test waits: so long that only what hangs is caught, however busy the machine is.
const limit = 2 * time.Minute

// loopback keeps every packet of a test on this machine.
var loopback = NamedInterfaces("lo")

// runClient runs a client on loopback until the test ends.
func runClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	cfg.Interfaces = loopback
	c := New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return c
}

// TestLoopback lets a client find what our responder announces, and hear it come back.
func TestLoopback(t *testing.T) {
	const port = 15353 // away from what else runs here
	found, alive := make(chan Service, 100), make(chan string, 100)
	c := runClient(t, Config{
		Service: service, port: port,
		Found: func(s Service) { found <- s }, Alive: func(n string) { alive <- n },
	})
	a := kitchen("127.0.0.1", "::1")
	for round := range 2 {
		r := NewResponder([]Announced{a}, loopback, slog.New(slog.DiscardHandler))
		r.port = port
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		expect(t, alive, "sign of life", func(n string) bool { return n == "kitchen" })
		expect(t, found, "service", func(s Service) bool { return s.Port == 6053 && len(s.Addrs) == 2 })
		lctx, lcancel := context.WithTimeout(t.Context(), limit)
		if got, err := c.Lookup(lctx, "kitchen.local"); err != nil || len(got) == 0 {
			t.Errorf("round %d: %v %v", round, got, err)
		}
		lcancel()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for len(alive)+len(found) > 0 { // the next round has to come anew
			select {
			case <-alive:
			case <-found:
			}
		}
	}
}

func expect[T any](t *testing.T, c <-chan T, what string, ok func(T) bool) {
	t.Helper()
	timeout := time.After(limit)
	for {
		select {
		case v := <-c:
			if ok(v) {
				return
			}
		case <-timeout:
			t.Fatalf("no %s within %v", what, limit)
		}
	}
}

// TestPion lets a client find what another implementation of multicast DNS announces.
func TestPion(t *testing.T) {
	lo, err := loopback()
	if err != nil {
		t.Fatal(err)
	}
	lc := net.ListenConfig{Control: share}
	conn, err := lc.ListenPacket(t.Context(), "udp4", "0.0.0.0:5353")
	if err != nil {
		t.Fatal(err)
	}
	server, err := pion.NewServer(ipv4.NewPacketConn(conn), nil,
		pion.WithInterfaces(lo...), pion.WithIncludeLoopback(true), pion.WithLocalNames("bluez-esphome-test.local"), pion.WithLocalAddress(net.IPv4(127, 0, 0, 1)),
		pion.WithService(pion.ServiceInstance{
			Instance: "bluez-esphome-test", Service: service, Host: "bluez-esphome-test.local.", Port: 6060,
			Text: []pion.TXTEntry{pion.NewTXTString("version", "2026.10.0")},
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	found := make(chan Service, 100)
	c := runClient(t, Config{Service: service, Found: func(s Service) { found <- s }})
	expect(t, found, "service", func(s Service) bool {
		return s.Instance == "bluez-esphome-test" && s.Port == 6060 && s.Text["version"] == "2026.10.0" && s.Addrs[0].String() == "127.0.0.1"
	})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if got, err := c.Lookup(ctx, "bluez-esphome-test"); err != nil || got[0].String() != "127.0.0.1" {
		t.Errorf("%v %v", got, err)
	}
}

func TestRealInterfaces(t *testing.T) {
	list, err := RealInterfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		if i.Flags&net.FlagLoopback != 0 {
			t.Errorf("%s is loopback", i.Name)
		}
	}
	if _, err := NamedInterfaces("no-such-interface")(); err == nil {
		t.Error("an interface that does not exist is used")
	}
}

// Two that announce the same name are told of each other once; who hears only itself, or a device with another name, is
// not.
func TestTaken(t *testing.T) {
	const port = 15354
	told := make(chan string, 100)
	run := func(who, instance, mac string) {
		a := Announced{Service: service, Instance: instance, Port: 6053, Text: []string{"mac=" + mac}, Taken: func(by string) { told <- who + " by " + by }}
		r := NewResponder([]Announced{a}, loopback, slog.New(slog.DiscardHandler))
		r.port = port
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	run("hall", "hall", "020000000003")
	run("first", "kitchen", "020000000001")
	run("second", "Kitchen", "020000000002")
	got := map[string]int{}
	for range 2 {
		select {
		case s := <-told:
			got[s]++
		case <-time.After(limit):
			t.Fatalf("told: %v", got)
		}
	}
	if got["first by 020000000002"] != 1 || got["second by 020000000001"] != 1 || len(told) > 0 {
		t.Errorf("told: %v, and %d more", got, len(told))
	}
}
