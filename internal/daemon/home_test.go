package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/finder"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/mdns"
	"bluez-esphome/internal/privatebus"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/internal/task/tasktest"
)

// home is a daemon on a bus of its own, whose multicast DNS is spoken on loopback.
type home struct {
	*testing.T
	d     *Daemon
	bus   *privatebus.Bus
	state string
	done  chan error
	stop  context.CancelFunc
}

// begin starts a daemon with the text of a configuration, "" being none.
func begin(t *testing.T, text string) *home {
	t.Helper()
	bus, err := privatebus.Start(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	h := &home{T: t, bus: bus, state: filepath.Join(t.TempDir(), "state"), done: make(chan error, 1)}
	t.Cleanup(bus.Stop)
	h.run(text)
	return h
}

func (h *home) run(text string) {
	h.Helper()
	ready := make(chan struct{})
	h.d = New(Options{
		Config: h.config(text), Version: "test", Logger: slog.New(slog.DiscardHandler), Interfaces: mdns.NamedInterfaces("lo"),
		Ready: func(string) { close(ready) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	d, done := h.d, make(chan error, 1)
	h.stop, h.done = cancel, done
	go func() { done <- d.Run(ctx) }()
	h.Cleanup(h.end)
	select {
	case <-ready:
	case err := <-h.done:
		h.done <- err
		h.Fatal(err)
	}
}

// end stops the daemon; once more does nothing.
func (h *home) end() {
	h.stop()
	select {
	case err := <-h.done:
		if err != nil {
			h.Error(err)
		}
		h.done = make(chan error, 1)
		h.done <- nil
	case <-time.After(limit):
		h.Error("the daemon does not stop")
	}
}

func (h *home) config(text string) *config.Config {
	h.Helper()
	cfg, err := config.Parse(fmt.Appendf(nil, "bus: %q\nstate_dir: %q\n%s", h.bus.Address, h.state, text), "test")
	if err != nil {
		h.Fatal(err)
	}
	return cfg
}

// eventually waits until ok.
func (h *home) eventually(what string, ok func() bool) {
	h.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(end) {
			h.Fatalf("not so: %s; proxies %q", what, h.list())
		}
	}
}

// list tells of the proxies: name, state, and what is wrong.
func (h *home) list() (out []string) {
	for _, p := range h.d.proxies.All() {
		out = append(out, p.Label()+" "+p.State().String()+" "+p.LastError())
	}
	return out
}

// at gives the proxy at an address.
func (h *home) at(address string) *fleet.Proxy {
	for _, p := range h.d.proxies.All() {
		if fleet.HostPort(p.Config()) == address {
			return p
		}
	}
	return nil
}

func (h *home) online(address string) bool {
	p := h.at(address)
	return p != nil && p.Online()
}

// proxy simulates one on an address of loopback and gives where it listens.
func proxy(t *testing.T, cfg proxysim.ProxyConfig, listen string) (*proxysim.Proxy, netip.AddrPort) {
	t.Helper()
	specs, err := proxysim.DemoPeripherals()
	if err != nil {
		t.Fatal(err)
	}
	sim, err := proxysim.New(proxysim.Options{
		Peripherals: specs, Log: slog.New(slog.DiscardHandler), Proxies: []proxysim.ProxySpec{{ProxyConfig: cfg, Listen: listen}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tasktest.Background(t, sim.Run)
	return sim.Proxy(cfg.Name), netip.MustParseAddrPort(sim.Addr(cfg.Name).String())
}

// announce has names point to a place.
func announce(t *testing.T, at netip.AddrPort, names ...string) {
	t.Helper()
	var list []mdns.Announced
	for _, name := range names {
		list = append(list, mdns.Announced{Service: finder.Service, Instance: name, Port: at.Port(), Addrs: []netip.Addr{at.Addr()}})
	}
	tasktest.Background(t, mdns.NewResponder(list, mdns.NamedInterfaces("lo"), slog.New(slog.DiscardHandler)).Run)
}

// freePort gives an address that nobody listens at yet.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
