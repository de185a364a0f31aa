package hci

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bluez-esphome/internal/att"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/links/linkstest"
	"bluez-esphome/internal/smp"
)

// socketLimit bounds each wait for what has to come.
const socketLimit = 2 * time.Minute

// served is a controller on a real transport.
func served(t *testing.T, transport Transport) *Controller {
	t.Helper()
	c := New(Config{
		Name: "test", Address: 0x02e550000001, Transport: transport, Air: &fakeAir{}, Log: slog.New(slog.DiscardHandler),
		Store:       fakeStore{map[ble.Address]smp.Key{}, map[ble.Address]att.Seen{}},
		Links:       func(links.Events) links.Links { return linkstest.NewLinks(t) },
		NewATT:      func(cfg att.Config) ATT { return &fakeATT{cfg: cfg} },
		NewSMP:      func(cfg smp.Config) Security { return &fakeSMP{cfg: cfg} },
		WishChanged: func() {},
	})
	c.patience = 50 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return c
}

// come calls f until it has come about.
func come(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(socketLimit); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not come about that %s", what)
		}
	}
}

// TestSocketStoppedReading: on each real transport a host that reads nothing loses its advertisements and then its
// controller, whatever it goes on to send. The next host is served, and a controller beside it does not notice.
func TestSocketStoppedReading(t *testing.T) {
	t.Parallel()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	path := filepath.Join(dir, "h")
	tcp := TCP("127.0.0.1:0", log)
	for _, c := range []struct {
		name      string
		transport Transport
		dial      func() (io.ReadWriteCloser, error)
	}{
		{"unix", Unix(path, log), func() (io.ReadWriteCloser, error) { return net.Dial("unix", path) }},
		{"tcp", tcp, func() (io.ReadWriteCloser, error) {
			if tcp.Addr() == nil {
				return nil, net.ErrClosed
			}
			return net.Dial("tcp", tcp.Addr().String())
		}},
		{"pty", NewPTY(path+"-tty", log), func() (io.ReadWriteCloser, error) { return os.OpenFile(path+"-tty", os.O_RDWR, 0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := served(t, c.transport)
			served(t, Unix(path+"-good-"+c.name, log))
			var neighbour net.Conn
			var err error
			come(t, "the neighbour is there", func() bool {
				neighbour, err = net.Dial("unix", path+"-good-"+c.name)
				return err == nil
			})
			defer func() { _ = neighbour.Close() }()
			var conn io.ReadWriteCloser
			come(t, "a host may come", func() bool {
				conn, err = c.dial()
				return err == nil
			})
			defer func() { _ = conn.Close() }()
			ask := unhex(t, "01021000") // the longest answer: 70 bytes
			if _, err := conn.Write(unhex(t, scanOn)); err != nil {
				t.Fatal(err)
			}
			come(t, "it scans", func() bool { return bad.Status().Scanning })
			n := ble.Address(0)
			come(t, "it loses advertisements", func() bool {
				for range 100 {
					n++
					bad.Adverts(time.Now(), []ble.RawAdvert{{Address: n, Data: []byte{2, 1, 6}}})
				}
				return bad.Status().Dropped > 0
			})
			sent := make(chan struct{})
			go func() { // until the controller has given it up
				defer close(sent)
				for range 1 << 20 {
					if _, err := conn.Write(ask); err != nil {
						return
					}
				}
			}()
			come(t, "it is given up", func() bool { st := bad.Status(); return st.Host == "" && !st.Scanning })
			_ = conn.Close()
			<-sent
			if !resets(neighbour) {
				t.Error("the controller beside it does not answer")
			}
			var next io.ReadWriteCloser
			come(t, "the next host may come", func() bool { // to the terminal that is then there
				next, err = c.dial()
				if err == nil && !resets(next) {
					_ = next.Close()
					return false
				}
				return err == nil
			})
			_ = next.Close()
		})
	}
}

// resets reports whether a controller answers a Reset.
func resets(conn io.ReadWriter) bool {
	if _, err := conn.Write(resetFrame); err != nil {
		return false
	}
	answer := make([]byte, 7)
	_, err := io.ReadFull(conn, answer)
	return err == nil && hexOf(answer) == "040e0401030c00"
}
