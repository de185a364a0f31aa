package link

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"
)

// limit is how long a test waits: so long that only what hangs is caught, however busy the machine is.
const limit = 3 * time.Minute

// device is a simulated proxy that listens on TCP and can lose its listener.
type device struct {
	t      *testing.T
	sim    *proxysim.Proxy
	ctx    context.Context
	wg     sync.WaitGroup
	cancel context.CancelFunc

	mu    sync.Mutex
	conns []net.Conn
	stop  func()
}

// Accept notes the connections, so that a fault can reset them.
type noting struct {
	net.Listener
	d *device
}

func (n noting) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if err == nil {
		n.d.mu.Lock()
		n.d.conns = append(n.d.conns, c)
		n.d.mu.Unlock()
	}
	return c, err
}

func newDevice(t *testing.T) *device {
	t.Helper()
	air, err := proxysim.NewAir(peripherals(t))
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.sim, err = proxysim.NewProxy(air, proxysim.ProxyConfig{Name: "kitchen"})
	if err != nil {
		t.Fatal(err)
	}
	d.wg.Go(func() { _ = air.Run(d.ctx) })
	t.Cleanup(func() { d.cancel(); d.wg.Wait() })
	return d
}

// listen serves at an address until the returned function is called.
func (d *device) listen(address string) (at string) {
	d.t.Helper()
	var ln net.Listener
	// A process that another test is just starting holds a copy of the socket that was here before.
	harness.Eventually(d.t, time.Minute, "to listen at "+address, func() bool {
		var err error
		ln, err = net.Listen("tcp", address)
		return err == nil
	})
	ctx, cancel := context.WithCancel(d.ctx)
	done := make(chan struct{})
	d.wg.Go(func() { defer close(done); _ = d.sim.Serve(ctx, noting{ln, d}) })
	d.stop = func() { cancel(); <-done }
	return ln.Addr().String()
}

// reset ends every connection with a reset, after the first bytes of a frame.
func (d *device) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		_, _ = c.Write([]byte{0, 50, 93, 10})
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	d.conns = nil
}

// TestRealSockets plays the rows that need no long waiting over TCP.
func TestRealSockets(t *testing.T) {
	for i, tt := range []struct {
		name, want, note string
		begin            func(d *device, at string) (end func(), moved string)
		detect, recover  time.Duration
	}{
		{name: "connection refused for 1 s", want: "apiconn.ClosedError", begin: func(d *device, at string) (func(), string) {
			d.stop()
			return func() { time.Sleep(time.Second); d.listen(at) }, ""
		}, detect: time.Second, recover: 5 * time.Second},
		{name: "reset in the middle of a frame", want: "apiconn.ClosedError", begin: func(d *device, _ string) (func(), string) {
			d.reset()
			return nil, ""
		}, detect: time.Second, recover: 3 * time.Second},
		{name: "half-open", want: "apiconn.SilentError", note: "with ping_after 0.5 s and dead_after 1 s", begin: func(d *device, _ string) (func(), string) {
			d.sim.SetFault(proxysim.FaultHalfOpen)
			return func() { d.sim.SetFault(proxysim.FaultNone) }, ""
		}, detect: 3 * time.Second, recover: 3 * time.Second},
		{name: "restart on another address", want: "apiconn.ClosedError", note: "measured from the announcement; the name is resolved at each attempt", begin: func(d *device, at string) (func(), string) {
			_, port, _ := net.SplitHostPort(at)
			d.stop()
			return func() { d.listen("127.0.0.2:" + port) }, "127.0.0.2"
		}, detect: time.Second, recover: 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDevice(t)
			at := d.listen("127.0.0.1:0")
			_, port, err := net.SplitHostPort(at)
			if err != nil {
				t.Fatal(err)
			}
			log := newLogbook()
			var mu sync.Mutex
			name := "127.0.0.1"
			p, err := apiconn.New(apiconn.Config{
				Address: hostname + ":" + port, Handler: new(quietHandler), Logger: slog.New(log),
				PingAfter: 500 * time.Millisecond, DeadAfter: time.Second,
				Resolve: func(context.Context, string) ([]netip.Addr, error) {
					mu.Lock()
					defer mu.Unlock()
					return []netip.Addr{netip.MustParseAddr(name)}, nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			if err := p.Start(ctx); err != nil {
				t.Fatal(err)
			}
			defer p.Stop()
			begun := time.Now()
			end, moved := tt.begin(d, at)
			e, ok := log.first(begun, limit, failed)
			w := row{order: 100 + i, fault: tt.name, where: "TCP", note: tt.note, detected: e.at.Sub(begun), recovered: -1}
			if !ok {
				t.Fatal("the fault was not noticed")
			}
			w.err = typeOf(e.err)
			if w.err != tt.want || w.detected > tt.detect {
				t.Errorf("%s (%v) after %v, want %s within %v", w.err, e.err, w.detected, tt.want, tt.detect)
			}
			if end != nil {
				end()
			}
			ended := time.Now()
			if moved != "" {
				mu.Lock()
				name = moved
				mu.Unlock()
				p.Kick()
			}
			e, ok = log.first(e.at, limit, isUp)
			if !ok {
				t.Fatal("it did not recover")
			}
			w.recovered = max(0, e.at.Sub(ended))
			if w.recovered > tt.recover {
				t.Errorf("recovered after %v, want %v at most", w.recovered, tt.recover)
			}
			results.add(w)
		})
	}
}
