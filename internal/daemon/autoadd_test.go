package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/finder"
	"bluez-esphome/internal/mdns"
	"bluez-esphome/internal/privatebus"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"
)

// limit is how long a test waits: so long that only what hangs is caught, however busy the machine is.
const limit = 3 * time.Minute

// lamp serves a device with ESPHome that is no Bluetooth proxy.
func lamp(t *testing.T, ctx context.Context) (port uint16) {
	t.Helper()
	air, err := proxysim.NewAir(nil)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := proxysim.NewProxy(air, proxysim.ProxyConfig{Name: "lamp"})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = apiserver.Serve(ctx, conn, apiserver.Config{
					Device:   func() apiserver.Device { return apiserver.Device{Name: "lamp", ESPHomeVersion: "2026.10.0"} },
					APIMinor: 14, AuthOnHello: true, Log: slog.New(slog.DiscardHandler),
				}, backend)
			}()
		}
	}()
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

// TestAutoAdd: a proxy that is announced is used, a lamp and a device with a key are not, and the proxy is dropped once
// it is gone for long.
func TestAutoAdd(t *testing.T) {
	if !harness.Isolated(t) {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	specs, err := proxysim.DemoPeripherals()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	sim, err := proxysim.New(proxysim.Options{
		Peripherals: specs, Log: log,
		Proxies: []proxysim.ProxySpec{{ProxyConfig: proxysim.ProxyConfig{Name: "found-proxy"}, Listen: "127.0.0.1:0"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	simCtx, stopSim := context.WithCancel(ctx)
	simDone := make(chan error, 1)
	go func() { simDone <- sim.Run(simCtx) }()
	loopback := mdns.NamedInterfaces("lo")
	announce := func(name string, port uint16, text ...string) mdns.Announced {
		return mdns.Announced{Service: finder.Service, Instance: name, Port: port, Text: text, Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	}
	responderCtx, stopResponder := context.WithCancel(ctx)
	responderDone := make(chan error, 1)
	go func() {
		responderDone <- mdns.NewResponder([]mdns.Announced{
			announce("found-proxy", uint16(sim.Addr("found-proxy").(*net.TCPAddr).Port)),
			announce("lamp", lamp(t, ctx)),
			announce("locked", 1, "api_encryption=Noise_NNpsk0_25519_ChaChaPoly_SHA256"),
		}, loopback, log).Run(responderCtx)
	}()

	bus, err := privatebus.Start(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Stop()
	cfg, err := config.Parse(fmt.Appendf(nil, "bus: %q\nstate_dir: %q\nauto_add: {}\n", bus.Address, filepath.Join(t.TempDir(), "state")), "test")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.AutoAdd == nil {
		t.Fatal("auto_add is off")
	}
	d := New(Options{Config: cfg, Version: "test", Logger: log, Interfaces: loopback})
	runDone := make(chan error, 1)
	ready := make(chan struct{})
	d.opts.Ready = func(string) { close(ready) }
	runCtx, stopDaemon := context.WithCancel(ctx)
	go func() { runDone <- d.Run(runCtx) }()
	select {
	case <-ready:
	case err := <-runDone:
		t.Fatal(err)
	}
	await := func(what string, ok func(objects []string) bool) {
		t.Helper()
		var objects []string
		deadline := time.Now().Add(limit)
		for tick := time.NewTicker(20 * time.Millisecond); time.Now().Before(deadline); <-tick.C {
			if err := d.conn.Do(ctx, func() {
				objects = nil
				for _, p := range d.proxies.All() {
					objects = append(objects, "x "+p.Name()+" "+p.State().String())
				}
			}); err != nil {
				t.Fatal(err)
			}
			if ok(objects) {
				return
			}
		}
		t.Fatalf("%s: objects %q", what, objects)
	}
	await("the proxy is used, the others are not", func(o []string) bool { return len(o) == 1 && strings.HasSuffix(o[0], " found-proxy online") })

	stopResponder()
	stopSim()
	if err := <-responderDone; err != nil {
		t.Error(err)
	}
	if err := <-simDone; err != nil {
		t.Error(err)
	}
	await("it is offline", func(o []string) bool { return len(o) == 1 && !strings.HasSuffix(o[0], "online") })

	// A reload without auto_add lets it go.
	without := *cfg
	without.AutoAdd = nil
	d.Reload(&without)
	await("it is dropped", func(o []string) bool { return len(o) == 0 })
	stopDaemon()
	if err := <-runDone; err != nil {
		t.Error(err)
	}
}
