package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"bluez-esphome/tests/bench/load"

	"github.com/godbus/dbus/v5"
)

const aboutNotify = `Notifications of 20 bytes from an encrypted proxy as fast as they are taken, all of which have to arrive: through the socket of AcquireNotify, and as PropertiesChanged of
Value after StartNotify. The reference calls a function for each. How many a second a core is enough for, by the CPU of the process.`

const perCore = "thousands a second and core"

func notify(ctx context.Context, w *world, r *result) error {
	sockets, signals := r.group("AcquireNotify"), r.group("PropertiesChanged")
	for range w.rounds {
		v, err := w.notifyReference(ctx)
		if err != nil {
			return err
		}
		sockets.add(reference, perCore, v)
		signals.add(reference, perCore, v)
		if err := w.notifyDaemon(ctx, sockets, acquireNotify, w.scale(200_000)); err != nil {
			return err
		}
		if err := w.notifyDaemon(ctx, signals, startNotify, w.scale(60_000)); err != nil {
			return err
		}
	}
	sockets.atLeast(daemon, perCore, " k/s", 150)
	signals.atLeast(daemon, perCore, " k/s", 50)
	return nil
}

// linked is a load, a daemon that uses it, and a client that is connected to the load's device.
type linked struct {
	*running
	conn *client
}

func (w *world) connected(ctx context.Context) (*linked, error) {
	return w.connectedWith(ctx, settings{})
}

func (w *world) connectedWith(ctx context.Context, s settings) (_ *linked, err error) {
	r, err := w.running(ctx, gattSpec(), s)
	if err != nil {
		return nil, err
	}
	l := &linked{running: r}
	defer func() {
		if err != nil {
			if l.conn != nil {
				_ = l.conn.Close()
			}
			r.stop()
		}
	}()
	l.conn, err = w.client()
	if err != nil {
		return nil, err
	}
	if err := r.discover(ctx, l.conn.Conn); err != nil {
		return nil, err
	}
	path := devPath(load.Address)
	if err := bluez(ctx, l.conn.Conn, path, deviceIface+".Connect").Err; err != nil {
		return nil, fmt.Errorf("cannot connect: %w", err)
	}
	return l, poll(ctx, "the services", 20*time.Millisecond, func() bool {
		v, err := l.conn.Object("org.bluez", path).GetProperty(deviceIface + ".ServicesResolved")
		return err == nil && v.Value() == true
	})
}

// char gives the object path of a characteristic.
func (l *linked) char(ctx context.Context, uuid string) (dbus.ObjectPath, error) {
	var t tree
	if err := bluez(ctx, l.conn.Conn, "/", managedObjects).Store(&t); err != nil {
		return "", err
	}
	for path, ifaces := range t {
		if v, ok := ifaces[charIface]["UUID"]; ok && v.Value() == uuid {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no characteristic %s", uuid)
}

// connectedReference is the reference, connected to the load's device.
func (w *world) connectedReference(ctx context.Context) (*proxies, *process, error) {
	l, err := w.load(ctx, gattSpec())
	if err != nil {
		return nil, nil, err
	}
	p, err := w.start(ctx, reference, l)
	if err != nil {
		l.stop()
		return nil, nil, err
	}
	err = l.everybody(ctx, 1)
	if err == nil {
		err = p.say("connect " + load.Address)
		if err == nil {
			_, err = p.expect(ctx, "CONNECTED")
			if err == nil {
				return l, p, nil
			}
		}
	}
	p.stop()
	l.stop()
	return nil, nil, err
}

func (w *world) notifyReference(ctx context.Context) (float64, error) {
	l, p, err := w.connectedReference(ctx)
	if err != nil {
		return 0, err
	}
	defer l.stop()
	defer p.stop()
	if err := p.say("notify " + load.TicksUUID); err != nil {
		return 0, err
	}
	if _, err := p.expect(ctx, "NOTIFYING"); err != nil {
		return 0, err
	}
	sent := 0
	send := func(count int) error {
		for end := sent + count; sent < end; sent += batch {
			if _, err := l.do(ctx, load.Command{Do: "notify", Count: batch}); err != nil {
				return err
			}
		}
		if err := p.say(fmt.Sprintf("await %d", sent)); err != nil {
			return err
		}
		_, err := p.expect(ctx, "AWAITED")
		return err
	}
	if err := send(2 * batch); err != nil {
		return 0, err
	}
	before := sent
	c, err := w.measure(p, func() error { return send(w.scale(200_000)) })
	if err != nil {
		return 0, err
	}
	return float64(sent-before) / 1000 / c.process.Seconds(), nil
}

const (
	// batch is the number of notifications in one write.
	batch = 250
	// window is the number of notifications that may be on their way to the client: as many as the daemon holds for one
	// that reads.
	window = 1000
)

// subscribe starts the notifications of a characteristic. count counts those that arrive.
type subscribe func(ctx context.Context, l *linked, path dbus.ObjectPath) (count *atomic.Int64, stop func(), err error)

func startNotify(ctx context.Context, l *linked, path dbus.ObjectPath) (*atomic.Int64, func(), error) {
	err := bluez(ctx, l.conn.Conn, path, charIface+".StartNotify").Err
	return &l.conn.count, func() {}, err
}

func acquireNotify(ctx context.Context, l *linked, path dbus.ObjectPath) (*atomic.Int64, func(), error) {
	var (
		fd  dbus.UnixFD
		mtu uint16
	)
	if err := bluez(ctx, l.conn.Conn, path, charIface+".AcquireNotify", map[string]dbus.Variant{}).Store(&fd, &mtu); err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fd), "notifications")
	n := &atomic.Int64{}
	go func() {
		for buf := make([]byte, 512); ; n.Add(1) {
			if got, err := f.Read(buf); err != nil || got == 0 {
				return
			}
		}
	}()
	return n, func() { _ = f.Close() }, nil
}

func (w *world) notifyDaemon(ctx context.Context, g *group, how subscribe, total int) error {
	l, err := w.connected(ctx)
	if err != nil {
		return err
	}
	defer l.stop()
	defer l.conn.Close()
	path, err := l.char(ctx, load.TicksUUID)
	if err != nil {
		return err
	}
	count, stop, err := how(ctx, l, path)
	if err != nil {
		return err
	}
	defer stop()
	if err := l.conn.quiet(ctx); err != nil {
		return err
	}
	start, sent := count.Load(), 0
	arrived := func() int { return int(count.Load() - start) }
	send := func(total int) error {
		for end := sent + total; sent < end || arrived() < sent; {
			if sent < end && sent+batch-arrived() <= window {
				if _, err := l.do(ctx, load.Command{Do: "notify", Count: batch}); err != nil {
					return err
				}
				sent += batch
				continue
			}
			if err := await(ctx, func() bool { return arrived() >= sent-window/2 && sent < end || arrived() >= sent }); err != nil {
				return fmt.Errorf("%d of %d notifications arrived: %w", arrived(), sent, err)
			}
		}
		return nil
	}
	if err := send(2 * batch); err != nil {
		return l.daemon.failed(err)
	}
	before := sent
	c, err := w.measure(l.daemon, func() error { return send(total) })
	if err != nil {
		return err
	}
	g.add(daemon, perCore, float64(sent-before)/1000/c.process.Seconds())
	g.add(daemon, "CPU of dbus-daemon, µs", micros(c.bus)/float64(sent-before))
	return nil
}

// await calls yes often until it returns true.
func await(ctx context.Context, yes func() bool) error {
	const limit = 2 * time.Minute
	for end := time.Now().Add(limit); !yes(); {
		if time.Now().After(end) {
			return errors.New("no more came")
		}
		if err := pause(ctx, 200*time.Microsecond); err != nil {
			return err
		}
	}
	return nil
}
