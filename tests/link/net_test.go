package link

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
)

// hostname and the addresses that it has had.
const (
	hostname = "kitchen.local"
	oldAddr  = "192.0.2.1"
	newAddr  = "192.0.2.2"
)

// network is everything between the client and the simulated proxy, in pipes.
type network struct {
	ctx context.Context
	wg  sync.WaitGroup

	mu    sync.Mutex
	proxy *proxysim.Proxy
	at    string              // the address that the proxy has
	name  string              // the address that its name gives
	refus bool                // connections are refused
	raw   func(conn net.Conn) // another device answers
	wires []*wire
	slow  bool // one byte a second, also on wires to come
	onNew func(*wire)
}

// change brings a fault, or ends it.
func (n *network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// present are the wires that are up.
func (n *network) present(f func(*wire)) {
	n.mu.Lock()
	list := append([]*wire(nil), n.wires...)
	n.mu.Unlock()
	for _, w := range list {
		f(w)
	}
}

func (n *network) resolve(context.Context, string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.name == "" {
		return nil, &net.DNSError{Err: "no such host", Name: hostname, IsNotFound: true}
	}
	return []netip.Addr{netip.MustParseAddr(n.name)}, nil
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case host != n.at: // the host is gone: packets are lost
		n.mu.Unlock()
		<-ctx.Done()
		n.mu.Lock()
		return nil, ctx.Err()
	case n.refus:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	near, far := net.Pipe()
	w := &wire{Conn: far, slow: n.slow, gone: make(chan struct{})}
	if n.onNew != nil {
		n.onNew(w)
	}
	n.wires = append(n.wires, w)
	raw, proxy := n.raw, n.proxy
	n.wg.Go(func() {
		if raw != nil {
			raw(w)
			_ = w.Close()
			return
		}
		_ = proxy.ServeConn(n.ctx, w) // it says why the client is gone
	})
	return near, nil
}

// wire is the proxy's end of a connection, and what goes wrong on it.
type wire struct {
	net.Conn
	once sync.Once
	gone chan struct{}

	mu     sync.Mutex
	slow   bool
	cut    bool      // the next write is cut in half, then the connection is reset
	tamper int       // flips a bit in the write after so many
	hold   time.Time // no byte passes before this time
	inject []byte    // goes before the next write
	forgot bool      // the device has restarted and does not know the connection
}

func (w *wire) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.gone) })
	return w.Conn.Close()
}

func (w *wire) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-w.gone:
		return false
	}
}

func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	slow, cut, hold, inject, forgot := w.slow, w.cut, w.hold, w.inject, w.forgot
	w.inject = nil
	flip := false
	if w.tamper > 0 {
		w.tamper--
		flip = w.tamper == 0
	}
	w.mu.Unlock()
	if forgot {
		return len(b), nil
	}
	if d := time.Until(hold); d > 0 && !w.sleep(d) {
		return 0, net.ErrClosed
	}
	if inject != nil {
		if _, err := w.Conn.Write(inject); err != nil {
			return 0, err
		}
	}
	switch {
	case flip:
		c := append([]byte(nil), b...)
		c[len(c)-1] ^= 1
		return w.Conn.Write(c)
	case cut:
		_, _ = w.Conn.Write(b[:len(b)/2])
		_ = w.Close()
		return 0, net.ErrClosed
	case slow:
		for i := range b {
			if !w.sleep(time.Second) {
				return i, net.ErrClosed
			}
			if _, err := w.Conn.Write(b[i : i+1]); err != nil {
				return i, err
			}
		}
		return len(b), nil
	}
	return w.Conn.Write(b)
}

// Read lets nothing through while the wire is held.
func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.mu.Lock()
	hold, forgot := w.hold, w.forgot
	w.mu.Unlock()
	if forgot {
		_ = w.Close()
		return 0, io.EOF
	}
	if d := time.Until(hold); d > 0 && !w.sleep(d) {
		return 0, io.EOF
	}
	return n, err
}

// logbook takes the log: what happened when, with the errors as they are.
type logbook struct {
	mu   sync.Mutex
	list []entry
	wake chan struct{} // capacity 1: there is more
}

type entry struct {
	at      time.Time
	message string
	err     error
}

func newLogbook() *logbook { return &logbook{wake: make(chan struct{}, 1)} }

func (l *logbook) Enabled(context.Context, slog.Level) bool { return true }
func (l *logbook) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logbook) WithGroup(string) slog.Handler            { return l }

func (l *logbook) Handle(_ context.Context, r slog.Record) error {
	e := entry{at: time.Now(), message: r.Message}
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			e.err = err
		}
		return true
	})
	l.mu.Lock()
	l.list = append(l.list, e)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

// first waits for the first entry since a time that pick takes; false after limit.
func (l *logbook) first(since time.Time, limit time.Duration, pick func(entry) bool) (entry, bool) {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		l.mu.Lock()
		for _, e := range l.list {
			if !e.at.Before(since) && pick(e) {
				l.mu.Unlock()
				return e, true
			}
		}
		l.mu.Unlock()
		select {
		case <-l.wake:
		case <-timeout.C:
			return entry{}, false
		}
	}
}

func failed(e entry) bool { return e.err != nil }

func isUp(e entry) bool { return e.message == "Proxy is online" || e.message == "Proxy is back" }

// quietHandler is a Handler that counts adverts only.
type quietHandler struct {
	mu      sync.Mutex
	adverts int
	last    time.Time     // when some came
	pause   time.Duration // the longest without any
	offline error
}

func (h *quietHandler) Adverts(_ *apiconn.Proxy, _ time.Time, a []ble.RawAdvert) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.adverts += len(a)
	if !h.last.IsZero() {
		h.pause = max(h.pause, time.Since(h.last))
	}
	h.last = time.Now()
}

// longestPause is the longest time without advertisements since the last call of longestPause.
func (h *quietHandler) longestPause() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := max(h.pause, time.Since(h.last))
	h.pause, h.last = 0, time.Now()
	return d
}

func (h *quietHandler) heard() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.adverts
}

func (h *quietHandler) Offline(_ *apiconn.Proxy, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.offline = err
}

func (*quietHandler) Online(*apiconn.Proxy, apiconn.Info)                      {}
func (*quietHandler) Slots(*apiconn.Proxy, ble.Slots)                          {}
func (*quietHandler) LinkUp(*apiconn.Proxy, ble.Address, int)                  {}
func (*quietHandler) LinkDown(*apiconn.Proxy, ble.Address, int32)              {}
func (*quietHandler) Notification(*apiconn.Proxy, ble.Address, uint16, []byte) {}
func (*quietHandler) PairingChanged(*apiconn.Proxy, ble.Address, bool, int32)  {}
func (*quietHandler) ScannerState(*apiconn.Proxy, ble.ScannerState, ble.ScannerMode, ble.ScannerMode) {
}

// peripherals are the demo's.
func peripherals(t testing.TB) []proxysim.DeviceSpec {
	t.Helper()
	specs, err := proxysim.DemoPeripherals()
	if err != nil {
		t.Fatal(err)
	}
	return specs
}
