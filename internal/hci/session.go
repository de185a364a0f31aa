package hci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// openAgain is the pause after a transport that could not be opened, such as a device that is not there.
	openAgain = 2 * time.Second
	// writeTimeout is how long a host may take to read what fits its buffers no more, before its controller is reset.
	writeTimeout = 10 * time.Second
	// readSize is how much is read at a time, writeSize about how much is written.
	readSize  = 4096
	writeSize = 8192
)

// errStopped: a host took nothing for so long that what must not be lost does not fit any more.
var errStopped = errors.New("the host stopped reading; the controller is reset")

// Run serves hosts until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	defer func() { _ = c.cfg.Transport.Close() }()
	said := ""
	for ctx.Err() == nil {
		conn, err := c.cfg.Transport.Open(ctx)
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			break
		}
		if err != nil {
			if err.Error() != said { // it is tried for as long as it takes
				said = err.Error()
				c.cfg.Log.Error("A controller is not there yet", "error", err)
			}
			pause(ctx, openAgain)
			continue
		}
		said = ""
		c.serve(ctx, conn)
	}
	return ctx.Err()
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// serve serves one host.
func (c *Controller) serve(ctx context.Context, conn Conn) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	out := c.begin(conn.Name(), func(f func(context.Context)) { wg.Go(func() { f(ctx) }) })
	c.cfg.Log.Info("A host uses the controller", "host", conn.Name())
	wg.Go(func() { cancel(c.read(conn)) })
	wg.Go(func() { cancel(c.write(ctx, conn, out)) })
	<-ctx.Done()
	c.finish()
	_ = conn.Close()
	wg.Wait()
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errStopped):
		c.cfg.Log.Warn("A host stopped reading and was given up", "host", conn.Name())
	default:
		c.cfg.Log.Info("The host left the controller", "host", conn.Name(), "cause", cause)
	}
}

// begin makes everything new for a host.
func (c *Controller) begin(host string, spawn func(func(context.Context))) *outbox {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out, c.spawn = newOutbox(), spawn
	c.stats.Host, c.stats.Since = host, time.Now()
	c.forget()
	return c.out
}

// finish lets go of everything of the host. Nothing is spawned from then on.
func (c *Controller) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.close()
	c.forget()
	c.stats.Host, c.stats.Since = "", time.Time{}
}

// read takes what the host sends, and ends with the connection.
func (c *Controller) read(conn Conn) error {
	buf := make([]byte, readSize)
	var frames splitter
	for {
		n, err := conn.Read(buf)
		if n > 0 && frames.feed(buf[:n], c.packet) {
			c.lost(conn)
		}
		if conn.Packets() {
			frames = splitter{buf: frames.buf[:0]} // the next one begins anew, whatever this was
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("it closed the connection")
			}
			return fmt.Errorf("cannot read from the host: %w", err)
		}
	}
}

// lost: the host's bytes are no packets. A controller says so, and waits for a Reset (Bluetooth Core, Vol 4 Part A, 4).
func (c *Controller) lost(conn Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Lost++
	if conn.Packets() {
		return
	}
	c.cfg.Log.Debug("The host sent what is no packet; waiting for its Reset", "host", conn.Name())
	c.event(eventHardwareError, 0)
}

// write sends what there is for the host: first what must not be lost, then advertisements.
func (c *Controller) write(ctx context.Context, conn Conn, out *outbox) error {
	var buf []byte
	var ends []int // of the packets in buf
	cut := func(n int) { ends = append(ends, n) }
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		packets, alive := out.take()
		if !alive {
			return errStopped
		}
		buf, ends = buf[:0], ends[:0]
		for _, p := range packets {
			buf = append(buf, p...)
			cut(len(buf))
		}
		var again time.Duration
		buf, again = c.scan.next(out, buf, writeSize, cut)
		if err := send(conn, buf, ends, c.patience); err != nil {
			return err
		}
		if again == 0 {
			select {
			case <-out.wake:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		timer.Reset(again)
		select {
		case <-out.wake:
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send writes packets: each by itself where the transport takes whole packets, else all at once.
func send(conn Conn, buf []byte, ends []int, patience time.Duration) error {
	if len(buf) == 0 {
		return nil
	}
	_ = conn.SetWriteDeadline(time.Now().Add(patience)) // where there is none, the kernel takes everything
	if !conn.Packets() {
		ends = ends[len(ends)-1:]
	}
	start := 0
	for _, end := range ends {
		if _, err := conn.Write(buf[start:end]); err != nil {
			if timeout := (interface{ Timeout() bool })(nil); errors.As(err, &timeout) && timeout.Timeout() {
				return errStopped
			}
			return fmt.Errorf("cannot write to the host: %w", err)
		}
		start = end
	}
	return nil
}
