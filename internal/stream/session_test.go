package stream

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/config"
)

// What is heard is published once, and the states are retained: online, a proxy's, offline at the end and by the will.
func TestPublish(t *testing.T) {
	t.Parallel()
	var b *fakeBroker
	run(t, plain(), func(t *testing.T, w *world) {
		b = w.b
		settle()
		if status, retain := b.last(t, "air/status"); field(t, status, "state") != "online" || !retain {
			t.Errorf("%s, retained %v", status, retain)
		}
		if p, retain := b.last(t, "air/proxy/kitchen"); field(t, p, "state") != "online" || !retain {
			t.Errorf("%s, retained %v", p, retain)
		}
		w.hear(1, 2, 1, 6)
		w.hear(1, 2, 1, 6)
		w.hear(2, 2, 1, 4)
		settle()
		if n := b.devices(); n != 2 {
			t.Errorf("%d messages of devices, want 2: %q", n, b.topics())
		}
		got, retain := b.last(t, "air/device/000000000001")
		const want = `,"site":"here","address":"00:00:00:00:00:01","address_type":"random","rssi":-60,"proxies":{"kitchen":-50,"h\"all":null},"raw":"020106","flags":6}`
		if !strings.HasSuffix(got, want) || retain {
			t.Errorf("%s, retained %v, want …%s", got, retain, want)
		}
		// A proxy's state is said when it changes, and taken back when it is gone.
		w.proxies.Store(&[]Proxy{{Name: "kitchen", State: "offline", Slots: 3, FreeSlots: 2}})
		w.ProxiesChanged()
		settle()
		if p, _ := b.last(t, "air/proxy/kitchen"); field(t, p, "state") != "offline" {
			t.Error(p)
		}
		w.proxies.Store(new([]Proxy))
		time.Sleep(statesEvery + time.Second)
		if p, retain := b.last(t, "air/proxy/kitchen"); p != "" || !retain {
			t.Errorf("%q, retained %v", p, retain)
		}
		if st := w.adds(t); st.Published != 2 || st.State != Connected {
			t.Errorf("%+v", st)
		}
		c := b.connects[0]
		if will := string(c.WillMessage); field(t, will, "state") != "offline" || !c.WillRetain || c.WillTopic != "air/status" || c.ClientID != "bluez-esphome-2A0000000001" {
			t.Errorf("%+v", c)
		}
	})
	if status, _ := b.last(t, "air/status"); field(t, status, "state") != "offline" {
		t.Errorf("at the end %s", status)
	}
}

// A broker that is away costs the oldest messages; what waited comes when it is back.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	m := plain()
	m.Queue = 100
	run(t, m, func(t *testing.T, w *world) {
		settle()
		w.b.set(func() { w.b.away = true })
		w.b.kill()
		settle()
		for i := range 250 {
			w.hear(1, 2, 1, byte(i))
		}
		time.Sleep(3 * time.Minute)
		if st := w.adds(t); st.State != Waiting || st.Queued != 100 || st.Dropped != 150 || !strings.Contains(st.LastError, "connection refused") {
			t.Errorf("%+v", st)
		}
		w.b.set(func() { w.b.away = false })
		time.Sleep(lastRetry)
		settle()
		if n := w.b.devices(); n != 100 {
			t.Errorf("%d messages came", n)
		}
		if p, _ := w.b.last(t, "air/device/000000000001"); field(t, p, "raw") != "0201f9" {
			t.Errorf("the newest is %s", p)
		}
		if st := w.adds(t); st.State != Connected || st.Sessions != 2 || st.Queued != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A broker that stalls stops nobody: the intake goes on, the session is given up after stallTimeout.
func TestBrokerStalls(t *testing.T) {
	t.Parallel()
	m := plain()
	m.Queue = 100
	run(t, m, func(t *testing.T, w *world) {
		settle()
		stalled := make(chan struct{})
		w.b.set(func() { w.b.stalled = stalled })
		w.hear(1, 1) // the broker was reading already
		settle()
		for i := range 300 {
			w.hear(1, byte(i>>8), byte(i))
			time.Sleep(10 * time.Millisecond)
		}
		if st := w.adds2(t); st.Dropped == 0 {
			t.Errorf("nothing was dropped: %+v", st)
		}
		time.Sleep(2 * stallTimeout)
		if st, _ := w.Status(); st.State == Connected || st.LastError == "" {
			t.Errorf("%+v", st)
		}
		w.b.set(func() { w.b.stalled = nil })
		close(stalled)
		time.Sleep(2 * lastRetry)
		settle()
		if st := w.adds(t); st.State != Connected || st.Queued != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// adds2 is the status while a batch is being written.
func (w *world) adds2(t *testing.T) Status {
	t.Helper()
	st, _ := w.Status()
	if rest := st.Offered - st.Published - st.Dropped - st.Refused - uint64(st.Queued) - uint64(st.Unacked); rest > takeMost {
		t.Errorf("%d messages are nowhere: %+v", rest, st)
	}
	return st
}

// With QoS 1 what a session leaves unacknowledged is sent again in the next.
func TestAcknowledged(t *testing.T) {
	t.Parallel()
	m := plain()
	m.QoS = 1
	run(t, m, func(t *testing.T, w *world) {
		settle()
		for i := range 20 {
			w.hear(1, 2, 1, byte(i))
		}
		settle()
		if st := w.adds(t); st.Published != 20 || st.Unacked != 0 {
			t.Errorf("%+v", st)
		}
		w.b.set(func() { w.b.noAcks, w.b.maximum = true, 5 })
		w.b.kill() // the next session has another window
		time.Sleep(lastRetry)
		for i := range 20 {
			w.hear(1, 2, 2, byte(i))
		}
		settle()
		if n := w.b.devices(); n != 25 {
			t.Errorf("%d messages came, 20 and 5 were wanted", n)
		}
		w.b.set(func() { w.b.noAcks = false })
		w.b.kill()
		time.Sleep(2 * lastRetry)
		settle()
		if n := w.b.devices(); n != 45 {
			t.Errorf("%d messages came, 45 were wanted", n)
		}
		if st := w.adds(t); st.Published != 40 {
			t.Errorf("%+v", st)
		}
		w.b.set(func() { w.b.ackWith = 0x87 })
		w.hear(1, 3)
		settle()
		if st := w.adds(t); st.Refused != 1 || !strings.Contains(st.LastError, "may not") {
			t.Errorf("%+v", st)
		}
	})
}

// What the broker says of itself is understood, and another try comes later and later.
func TestRefused(t *testing.T) {
	t.Parallel()
	run(t, plain(), func(t *testing.T, w *world) {
		w.b.set(func() { w.b.refuse = 0x86 })
		w.b.kill()
		time.Sleep(10 * time.Minute)
		if st, _ := w.Status(); !strings.Contains(st.LastError, "user or password is wrong") {
			t.Errorf("%+v", st)
		}
		if n := len(w.b.connects); n < 10 || n > 30 {
			t.Errorf("%d attempts in ten minutes", n)
		}
	})
}

// A broker of MQTT 3.1.1, as NATS is, is called that.
func TestOldBroker(t *testing.T) {
	t.Parallel()
	run(t, plain(), func(t *testing.T, w *world) {
		w.b.set(func() { w.b.old = true })
		w.b.kill()
		time.Sleep(time.Minute)
		if st, _ := w.Status(); !strings.Contains(st.LastError, "it does not speak MQTT 5: it answers as MQTT 3.1.1") {
			t.Errorf("%+v", st)
		}
	})
}

// A reload changes the stream; what did not change keeps its session.
func TestApply(t *testing.T) {
	t.Parallel()
	run(t, plain(), func(t *testing.T, w *world) {
		settle()
		w.Apply(plain())
		settle()
		if n := len(w.b.connects); n != 1 {
			t.Errorf("%d sessions", n)
		}
		m := plain()
		m.Topic, m.User, m.Password = "water", "me", config.NewPassword("secret")
		w.Apply(m)
		settle()
		if status, _ := w.b.last(t, "air/status"); field(t, status, "state") != "offline" {
			t.Error(status)
		}
		if status, _ := w.b.last(t, "water/status"); field(t, status, "state") != "online" {
			t.Error(status)
		}
		if c := w.b.connects[1]; c.Username != "me" || string(c.Password) != "secret" {
			t.Errorf("%+v", c)
		}
		w.Apply(config.MQTT{})
		if _, on := w.Status(); on || w.Wants() {
			t.Error("it is not off")
		}
		w.hear(1, 1)
		synctest.Wait()
	})
}
