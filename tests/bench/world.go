package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"bluez-esphome/internal/privatebus"
	"bluez-esphome/tests/bench/load"

	"github.com/godbus/dbus/v5"
)

// psk is the key of every encrypted proxy.
const psk = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="

// world is the things that all measurements share.
type world struct {
	options
	self   string // this program
	dir    string // the folder for the daemon's files
	bus    *privatebus.Bus
	conn   *dbus.Conn // the connection of the harness
	busPID int

	controllers int // how many sockets of controllers were made

	// For the names of profiles.
	row   string // the row that is measured
	taken int
}

// newWorld starts a bus. The caller closes the world.
func newWorld(ctx context.Context, o options) (_ *world, err error) {
	w := &world{options: o}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	w.self, err = os.Executable()
	if err != nil {
		return nil, err
	}
	w.dir, err = os.MkdirTemp("", "bb")
	if err != nil {
		return nil, err
	}
	w.bus, err = privatebus.Start(ctx, filepath.Join(w.dir, "bus"))
	if err != nil {
		return nil, err
	}
	w.conn, err = dbus.Connect(w.bus.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the bus: %w", err)
	}
	var pid uint32
	err = w.conn.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, "org.freedesktop.DBus").Store(&pid)
	if err != nil {
		return nil, fmt.Errorf("cannot tell which process the bus is: %w", err)
	}
	w.busPID = int(pid)
	return w, nil
}

func (w *world) close() {
	if w.conn != nil {
		_ = w.conn.Close()
	}
	if w.bus != nil {
		w.bus.Stop()
	}
	_ = os.RemoveAll(w.dir)
}

// env is the environment that makes a process use the bus.
func (w *world) env() []string { return []string{"DBUS_SYSTEM_BUS_ADDRESS=" + w.bus.Address} }

// The three programs that are compared.
const (
	reference = "reference"
	daemon    = "daemon"
	bare      = "floor"
)

// start starts one of the three programs on a load, and waits until it has subscribed to every proxy.
func (w *world) start(ctx context.Context, who string, l *proxies) (*process, error) {
	p, err := w.begin(ctx, who, l)
	if err != nil {
		return nil, err
	}
	if err := l.subscribed(ctx); err != nil {
		err = p.failed(err)
		p.stop()
		return nil, err
	}
	return p, nil
}

// begin starts one of the three programs and does not wait.
func (w *world) begin(ctx context.Context, who string, l *proxies) (*process, error) {
	switch who {
	case reference:
		return w.startReference(ctx, l, false)
	case bare:
		return spawn(ctx, nil, w.self, "floor", l.argument(false))
	}
	return w.daemon(ctx, l, settings{})
}

// startReference starts the reference. If first, it reports the first advertisement.
func (w *world) startReference(ctx context.Context, l *proxies, first bool) (*process, error) {
	return spawn(ctx, nil, w.python, filepath.Join(w.root, "tests/bench/py/reference.py"), l.argument(first))
}

// settings are further options of the daemon.
type settings struct {
	metrics  bool     // it answers HTTP
	share    int      // the port on which it shares the first proxy; 0: none
	shareKey string   // the key that hosts need; "": none
	hci      []string // the sockets of virtual controllers
	bus      string   // the address of the bus; "": that of the harness
	stream   string   // stream.mqtt, a map in YAML; "": none
}

// daemon starts the program with the load's proxies.
func (w *world) daemon(ctx context.Context, l *proxies, s settings) (*process, error) {
	dir, err := os.MkdirTemp(w.dir, "d")
	if err != nil {
		return nil, err
	}
	env := []string{"BLUEZ_ESPHOME_STATE_DIR=" + filepath.Join(dir, "state"), "NOTIFY_SOCKET="}
	listen := ""
	if s.metrics || w.profiles != "" {
		listen, err = freePort(ctx)
		if err != nil {
			return nil, err
		}
		env = append(env, "BLUEZ_ESPHOME_PPROF=1")
	}
	var c strings.Builder
	fmt.Fprintf(&c, "log: {level: warn}\nhttp: {listen: %q}\n", listen)
	if s.share != 0 {
		fmt.Fprintf(&c, "share: {listen: 127.0.0.1, base_port: %d, noise_psk: %q}\n", s.share, s.shareKey)
	}
	if s.stream != "" {
		fmt.Fprintf(&c, "stream: {mqtt: %s}\n", s.stream)
	}
	for i, socket := range s.hci {
		if i == 0 {
			c.WriteString("hci:\n")
		}
		fmt.Fprintf(&c, "  - {unix: %q}\n", socket)
	}
	c.WriteString("proxies:\n")
	for i, a := range l.addresses {
		fmt.Fprintf(&c, "  - {address: %q, name: p%03d, noise_psk: %q}\n", a, i, l.spec.PSK)
	}
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte(c.String()), 0o600); err != nil {
		return nil, err
	}
	p, err := spawn(ctx, env, w.bin, "run", "--config", path, "--bus", cmp.Or(s.bus, w.bus.Address))
	if err == nil {
		p.http = listen
	}
	return p, err
}

// running is a load and a daemon that uses it.
type running struct {
	*proxies
	daemon *process
}

// running starts a load and a daemon that uses it.
func (w *world) running(ctx context.Context, spec load.Spec, s settings) (*running, error) {
	l, err := w.load(ctx, spec)
	if err != nil {
		return nil, err
	}
	r := &running{proxies: l}
	r.daemon, err = w.daemon(ctx, l, s)
	if err == nil {
		err = l.subscribed(ctx)
		if err == nil {
			return r, nil
		}
		err = r.daemon.failed(err)
	}
	r.stop()
	return nil, err
}

func (r *running) stop() {
	r.daemon.stop()
	r.proxies.stop()
}
