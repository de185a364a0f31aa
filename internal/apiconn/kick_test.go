package apiconn

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/apiwire/apipb"
)

func TestKickEndsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		b := newBench(t, nil)
		b.fail = func() error {
			if up.Load() {
				return nil
			}
			return errors.New("refused")
		}
		started := only(func() error { return b.p.Start(t.Context()) })
		time.Sleep(10 * time.Minute) // fake: the pauses have grown to a minute
		synctest.Wait()
		up.Store(true)
		begun := time.Now()
		b.p.Kick()
		far := b.accept()
		if d := time.Since(begun); d > time.Second {
			t.Errorf("came after %v", d)
		}
		far.bringUp()
		if err := started(); err != nil {
			t.Error(err)
		}
		b.stop(far)
	})
}

// TestKickResetsBackOff: somebody announces a proxy that refuses all the same.
func TestKickResetsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at atomic.Int64 // attempts
		b := newBench(t, nil)
		b.fail = func() error { at.Add(1); return errors.New("refused") }
		started := only(func() error { return b.p.Start(t.Context()) })
		time.Sleep(10 * time.Minute)
		n := at.Load()
		begun := time.Now()
		for range 100 { // a flood
			b.p.Kick()
			time.Sleep(100 * time.Millisecond)
		}
		if got := at.Load() - n; got < 8 || got > 11 {
			t.Errorf("%d attempts in %v of kicks", got, time.Since(begun))
		}
		n = at.Load()
		time.Sleep(5 * time.Second)
		if got := at.Load() - n; got < 2 {
			t.Errorf("%d attempts in 5 s after the kicks: the back-off was not reset", got)
		}
		b.p.Stop()
		wantError(t, started(), ErrStopped)
	})
}

func TestKickDoesNotHelpAWrongKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		started := only(func() error { return b.p.Start(t.Context()) })
		far := b.accept()
		far.read()
		far.raw("010013") // wants encryption
		synctest.Wait()
		begun := time.Now()
		go func() {
			for range 30 {
				b.p.Kick()
				time.Sleep(time.Second)
			}
		}()
		again := b.accept()
		if d := time.Since(begun); d < 48*time.Second {
			t.Errorf("tried again after %v", d)
		}
		again.bringUp()
		if err := started(); err != nil {
			t.Error(err)
		}
		b.stop(again)
	})
}

// TestKickRestartsDial: the address was the old one, and packets to it get lost.
func TestKickRestartsDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) {
			inner := c.Dial
			hang := true
			c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if hang {
					hang = false
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return inner(ctx, network, address)
			}
		})
		started := only(func() error { return b.p.Start(t.Context()) })
		begun := time.Now()
		time.Sleep(time.Second)
		b.p.Kick() // too early
		time.Sleep(2 * time.Second)
		b.p.Kick()
		far := b.accept()
		if d := time.Since(begun); d != 3*time.Second {
			t.Errorf("dialled again after %v", d)
		}
		far.bringUp()
		if err := started(); err != nil {
			t.Error(err)
		}
		b.stop(far)
	})
}

// TestKickAsksSilentSession: the proxy was heard while its session says nothing.
func TestKickAsksSilentSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		far := b.online()
		begun := time.Now()
		b.p.Kick() // it just spoke
		time.Sleep(3 * time.Second)
		for range 5 {
			b.p.Kick()
		}
		want[*apipb.PingRequest](far)
		if d := time.Since(begun); d != 3*time.Second {
			t.Errorf("pinged after %v", d)
		}
		far.send(&apipb.PingResponse{})
		far.quiet(500 * time.Millisecond)
		b.stop(far)
	})
}

func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(10 * time.Millisecond)
		begun := time.Now()
		done := make(chan error)
		for range 200 {
			go func() { done <- p.Wait(t.Context()) }()
		}
		for range 200 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if d := time.Since(begun); d != 1990*time.Millisecond {
			t.Errorf("200 attempts within %v", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantError(t, p.Wait(ctx), context.Canceled)
	})
}
