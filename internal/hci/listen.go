package hci

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"bluez-esphome/internal/lockorder"
)

// Listener is a unix or TCP socket, on which a host connects. There is one host at a time; others are turned away.
type Listener struct {
	network, address string
	log              *slog.Logger

	mu    lockorder.Mutex[lockorder.Leaf]
	ln    net.Listener
	hosts chan net.Conn // unbuffered: a host waits for Open
	stop  chan struct{} // closed by Close
	wg    sync.WaitGroup
}

var _ Transport = (*Listener)(nil)

// Unix makes a Transport of a socket at path, an absolute one. Who may connect is a matter of its folder and group: its
// mode is 0660.
func Unix(path string, log *slog.Logger) *Listener {
	return &Listener{network: "unix", address: path, log: log}
}

// TCP makes a Transport of a host and a port.
func TCP(address string, log *slog.Logger) *Listener {
	return &Listener{network: "tcp", address: address, log: log}
}

// Addr is where it listens, nil before Open.
func (l *Listener) Addr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ln == nil {
		return nil
	}
	return l.ln.Addr()
}

// Open implements Transport.
func (l *Listener) Open(ctx context.Context) (Conn, error) {
	hosts, err := l.listen(ctx)
	if err != nil {
		return nil, err
	}
	select {
	case conn, ok := <-hosts:
		if !ok {
			return nil, fmt.Errorf("cannot accept a host on %s: the socket is closed", l.address)
		}
		return streamConn{conn}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// listen opens the socket, if that is still to do.
func (l *Listener) listen(ctx context.Context) (<-chan net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ln != nil {
		return l.hosts, nil
	}
	if l.network == "unix" {
		if err := clearSocket(l.address); err != nil {
			return nil, fmt.Errorf("cannot offer a controller on %s: %w", l.address, err)
		}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, l.network, l.address)
	if err != nil {
		return nil, fmt.Errorf("cannot offer a controller on %s: %w", l.address, err)
	}
	if l.network == "unix" {
		if err := os.Chmod(l.address, 0o660); err != nil {
			_ = ln.Close()
			return nil, fmt.Errorf("cannot offer a controller on %s: %w", l.address, err)
		}
	}
	l.ln, l.hosts, l.stop = ln, make(chan net.Conn), make(chan struct{})
	l.wg.Go(func() { l.accept(ln, l.hosts, l.stop) })
	l.log.Info("A controller waits for its host", "address", ln.Addr().String())
	return l.hosts, nil
}

// accept hands each host to an Open that waits, and turns it away if there is none.
func (l *Listener) accept(ln net.Listener, hosts chan<- net.Conn, stop <-chan struct{}) {
	defer close(hosts)
	for {
		conn, err := ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // no descriptors left, or the like
			l.log.Warn("Cannot accept a host", "error", err)
			select {
			case <-stop:
			case <-time.After(time.Second):
			}
			continue
		}
		select {
		case hosts <- conn:
			continue
		case <-stop:
		case <-time.After(handOver): // the host before may only just have left
			l.log.Warn("A second host was turned away: a controller serves one at a time", "host", conn.RemoteAddr().String())
		}
		_ = conn.Close()
	}
}

// handOver is how long a host waits for the one before it to be cleared away.
const handOver = 500 * time.Millisecond

// clearSocket removes a socket that a run before this one left. One on which somebody listens stays.
func clearSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return errors.New("something else is there that is no socket: remove it, or choose another path")
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return errors.New("another program listens there: stop it, or choose another path")
	}
	return os.Remove(path)
}

// Close implements Transport.
func (l *Listener) Close() error {
	l.mu.Lock()
	ln, stop := l.ln, l.stop
	l.ln = nil
	l.mu.Unlock()
	if ln == nil {
		return nil
	}
	close(stop)
	err := ln.Close()
	l.wg.Wait()
	return err
}

// streamConn is a socket.
type streamConn struct{ net.Conn }

func (c streamConn) Packets() bool { return false }

func (c streamConn) Name() string {
	if a := c.RemoteAddr().String(); a != "" && a != "@" {
		return a
	}
	return c.LocalAddr().String()
}
