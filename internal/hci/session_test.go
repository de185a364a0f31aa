package hci

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
)

// TestStoppedReading: a host that reads nothing loses its advertisements, then its controller is reset; the controller
// itself never waits.
func TestStoppedReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		hosts := r.c.cfg.Transport.(pipes)
		done := make(chan struct{})
		go func() { defer close(done); _ = r.c.Run(t.Context()) }()
		near, far := net.Pipe()
		hosts <- near
		r.host = far
		r.say(scanOn)
		synctest.Wait()
		for i := range 10 * maxReports {
			r.c.Adverts(time.Now(), []ble.RawAdvert{{Address: ble.Address(i), Data: []byte{2, 1, 6}}})
		}
		synctest.Wait()
		if st := r.c.Status(); st.Dropped == 0 || st.Host == "" {
			t.Errorf("%+v", st)
		}
		time.Sleep(writeTimeout)
		synctest.Wait()
		if st := r.c.Status(); st.Host != "" || st.Scanning {
			t.Errorf("after the time-out: %+v", st)
		}
		near, far = net.Pipe() // the next host is served
		hosts <- near
		r.host = far
		go r.collect(far)
		r.ask("01030c00", "040e0401030c00")
		_ = far.Close()
	})
}

// TestOverflow: what must not be lost is bounded, too.
func TestOverflow(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	for range maxOut {
		o.put([]byte{4})
	}
	if p, alive := o.take(); len(p) != maxOut || !alive {
		t.Fatalf("%d packets, alive %v", len(p), alive)
	}
	for range maxOut + 1 {
		o.put([]byte{4})
	}
	if _, alive := o.take(); alive {
		t.Error("it goes on")
	}
}

// TestNoise: a stream that is none is told of once, and a Reset ends it.
func TestNoise(t *testing.T) {
	run(t, func(r *rig) {
		r.ask("fffefdfc", "04100100")
		r.ask("00112233")
		r.ask("010910"+"00"+"01030c00", "040e0401030c00")
		if st := r.c.Status(); st.Lost != 1 {
			t.Errorf("%+v", st)
		}
	})
}
