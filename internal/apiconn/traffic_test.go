package apiconn

import (
	"testing"
	"testing/synctest"
	"time"
)

// Bytes, sessions and failures are counted over all sessions.
func TestTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		far := b.online()
		synctest.Wait()
		first := b.p.Traffic()
		if first.Sessions != 1 || first.Failures != 0 || first.Read == 0 || first.Written == 0 {
			t.Errorf("in the first session: %+v", first)
		}
		_ = far.conn.Close()
		far = b.accept()
		_ = far.conn.Close() // an attempt that fails
		far = b.accept()
		far.bringUp()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := b.p.Traffic(); got.Sessions != 2 || got.Failures != 1 || got.Read <= first.Read || got.Written <= first.Written {
			t.Errorf("in the second session: %+v, after %+v", got, first)
		}
		b.stop(far)
	})
}
