package apiconn

import (
	"testing"
	"testing/synctest"
	"time"
)

// A device that is refused sees nothing of us but the question what it is. If that is final there is no other attempt
// before Reconsider, however long it takes and whatever signs of life come; otherwise there is one a minute.
func TestRefused(t *testing.T) {
	for _, final := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			refuse := true
			b := newBench(t, func(c *Config) {
				c.Admit = func(i Info) error {
					if i.Name == "" || i.MAC == "" {
						t.Errorf("asked about %+v", i)
					}
					if refuse {
						return &RefusedError{Why: "not this one", Final: final}
					}
					return nil
				}
			})
			started := make(chan error, 1)
			go func() { started <- b.p.Start(t.Context()) }()
			far := b.accept()
			far.hello(deviceInfo())
			synctest.Wait()
			if got := b.p.LastError(); got != "not this one" || b.p.State() != StateOffline || len(b.rec.take()) != 0 {
				t.Errorf("%q, %v", got, b.p.State())
			}
			refuse = false
			b.p.Kick()
			time.Sleep(slowRetry + time.Second)
			b.p.Kick()
			synctest.Wait()
			select {
			case conn := <-b.dials:
				if final {
					t.Error("it is tried again")
				}
				_ = conn.Close()
			default:
				if !final {
					t.Error("it is not tried again after a minute")
				}
			}
			b.p.Reconsider()
			time.Sleep(slowRetry)
			far = b.accept()
			far.bringUp()
			if err := <-started; err != nil {
				t.Error(err)
			}
			b.stop(far)
		})
	}
}
