package link

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
)

var key, otherKey = [32]byte{1, 2, 3, 31: 32}, [32]byte{9, 8, 7, 31: 6}

// pulse is the demo's heart-rate sensor.
const pulse ble.Address = 0xC82B96100001

// scene is one client and one simulated proxy in a bubble.
type scene struct {
	t     *testing.T
	net   *network
	air   *proxysim.Air
	sim   *proxysim.Proxy
	proxy *apiconn.Proxy
	hear  *quietHandler
	log   *logbook
	cfg   apiconn.Config
	host  *quietHandler // what the other host hears
}

// A fault is one row of the matrix.
type fault struct {
	name string
	note string
	sim  func(*proxysim.ProxyConfig)
	conf func(*apiconn.Config)
	// fresh: there is no session before the fault, which exists from the start.
	fresh bool
	// begin brings the fault and returns what ends it; nil: it ends by itself.
	begin func(s *scene) (end func())
	// lasts is how long the fault stays after it was detected; 0 ends it at once.
	lasts time.Duration
	// open: neither the error nor its time is checked; want and the bounds do not count.
	open bool
	// want is the type of the error; "" means that nobody notices anything.
	want            string
	or              string        // another one, where the device has the same limit and may be first
	detect, recover time.Duration // bounds
}

// run plays the row and gives its line.
func (f fault) run(t *testing.T) row {
	s := &scene{t: t, hear: new(quietHandler), log: newLogbook()}
	ctx, cancel := context.WithCancel(t.Context())
	air, err := proxysim.NewAir(peripherals(t))
	if err != nil {
		t.Fatal(err)
	}
	s.air = air
	sc := proxysim.ProxyConfig{Name: "kitchen"}
	if f.sim != nil {
		f.sim(&sc)
	}
	s.sim, err = proxysim.NewProxy(air, sc)
	if err != nil {
		t.Fatal(err)
	}
	s.net = &network{ctx: ctx, proxy: s.sim, at: oldAddr, name: oldAddr}
	airDone := make(chan struct{})
	go func() { defer close(airDone); _ = air.Run(ctx) }()
	cfg := apiconn.Config{
		Address: hostname, Handler: s.hear, Logger: slog.New(s.log), Dial: s.net.dial, Resolve: s.net.resolve,
	}
	if f.conf != nil {
		f.conf(&cfg)
	}
	s.cfg = cfg
	s.proxy, err = apiconn.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	end := func() {}
	begun := time.Now()
	if f.fresh {
		if e := f.begin(s); e != nil {
			end = e
		}
		begun = time.Now()
	}
	run := make(chan error, 1)
	go func() { run <- s.proxy.Run(ctx) }()
	if !f.fresh {
		if _, ok := s.log.first(begun, time.Minute, isUp); !ok {
			t.Fatal("the session did not come up")
		}
		time.Sleep(30 * time.Second) // it is stable, and adverts came
		if s.hear.heard() == 0 {
			t.Fatal("no adverts")
		}
		begun = time.Now()
		if e := f.begin(s); e != nil {
			end = e
		}
	}
	w := row{fault: f.name, where: "fake time", note: f.note, detected: -1, recovered: -1, err: "none: it rides it out"}
	e, ok := s.log.first(begun, 10*time.Minute, failed)
	if ok {
		w.detected, w.err = e.at.Sub(begun), typeOf(e.err)
		time.Sleep(f.lasts)
	}
	end()
	ended := time.Now()
	switch {
	case f.open:
	case !ok && f.want != "":
		t.Error("the fault was not noticed")
	case ok && w.err != f.want && w.err != f.or:
		t.Errorf("error %s, want %q: %v", w.err, f.want, e.err)
	case ok && w.detected > f.detect:
		t.Errorf("detected after %v, want %v at most", w.detected, f.detect)
	}
	if ok && f.recover > 0 {
		// A degraded session that is up again, or a new one.
		e, up := s.log.first(ended, 24*time.Hour, isUp)
		w.recovered = e.at.Sub(ended)
		if !up || w.recovered > f.recover {
			t.Errorf("recovered: %v, after %v, want %v at most", up, w.recovered, f.recover)
		}
		before := s.hear.heard()
		time.Sleep(10 * time.Second)
		if s.hear.heard() == before || s.proxy.State() != apiconn.StateOnline {
			t.Errorf("no adverts after the recovery, state %v", s.proxy.State())
		}
	}
	s.proxy.Stop()
	<-run
	cancel()
	s.net.present(func(w *wire) { _ = w.Close() })
	s.net.wg.Wait()
	<-airDone
	return w
}

// typeOf names the type of an error.
func typeOf(err error) string { return strings.TrimPrefix(fmt.Sprintf("%T", err), "*") }

func psk(k [32]byte) func(*apiconn.Config) { return func(c *apiconn.Config) { c.PSK = &k } }

func keyed(c *proxysim.ProxyConfig) { c.PSK = &key }

// answering is a fault in which another device answers at the address.
func answering(raw func(net.Conn)) func(*scene) func() {
	return func(s *scene) func() {
		s.net.change(func() { s.net.raw = raw })
		s.sim.DropClients()
		return func() { s.net.change(func() { s.net.raw = nil }) }
	}
}

// readThen reads the client's first bytes and answers.
func readThen(answer []byte) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = c.Write(answer)
		_, _ = io.Copy(io.Discard, c)
	}
}

// frame is a plaintext frame with a message of an unknown number.
func frame(size int) []byte {
	b := []byte{0, byte(size)&0x7f | 0x80, byte(size>>7)&0x7f | 0x80, byte(size >> 14), 0xff, 0x07}
	return append(b, make([]byte, size)...)
}

const (
	backOff = 2 * time.Second  // the first pauses
	grown   = 62 * time.Second // the longest
)

func matrix() []fault {
	onWires := func(f func(*wire)) func(*scene) func() {
		return func(s *scene) func() { s.net.present(f); return nil }
	}
	return []fault{
		{name: "connection refused for 30 s", begin: func(s *scene) func() {
			s.net.change(func() { s.net.refus = true })
			s.sim.DropClients()
			return func() { s.net.change(func() { s.net.refus = false }) }
		}, lasts: 30 * time.Second, want: "apiconn.ClosedError", detect: time.Second, recover: 20 * time.Second,
			note: "every pause is longer than the one before"},
		{name: "connection refused", note: "a new connection", fresh: true, begin: func(s *scene) func() {
			s.net.change(func() { s.net.refus = true })
			return func() { s.net.change(func() { s.net.refus = false }) }
		}, want: "apiconn.DialError", detect: time.Second, recover: backOff},
		{name: "nobody at the address", note: "a new connection; packets get lost", fresh: true, begin: func(s *scene) func() {
			s.net.change(func() { s.net.at = newAddr })
			return func() { s.net.change(func() { s.net.name = newAddr }) }
		}, want: "apiconn.DialError", detect: 21 * time.Second, recover: backOff},
		{name: "the name has no address", note: "a new connection", fresh: true, begin: func(s *scene) func() {
			s.net.change(func() { s.net.name = "" })
			return func() { s.net.change(func() { s.net.name = oldAddr }) }
		}, want: "apiconn.ResolveError", detect: 31 * time.Second, recover: backOff},
		{name: "accepted and closed at once for 10 s", note: "as a proxy with too many API clients does", begin: func(s *scene) func() {
			s.sim.SetFault(proxysim.FaultRefuse)
			s.sim.DropClients()
			return func() { s.sim.SetFault(proxysim.FaultNone) }
		}, lasts: 10 * time.Second, want: "apiconn.ClosedError", detect: time.Second, recover: 11 * time.Second},
		{name: "accepted, then silence", note: "a new connection", fresh: true, begin: func(s *scene) func() {
			s.sim.SetFault(proxysim.FaultSilent)
			return func() { s.sim.SetFault(proxysim.FaultNone) }
		}, want: "apiconn.NoAnswerError", detect: 21 * time.Second, recover: backOff},
		{name: "accepted, then silence, encrypted", note: "a new connection", fresh: true, sim: keyed, conf: psk(key), begin: func(s *scene) func() {
			s.sim.SetFault(proxysim.FaultSilent)
			return func() { s.sim.SetFault(proxysim.FaultNone) }
		}, want: "apiconn.NoAnswerError", detect: 21 * time.Second, recover: backOff},
		{name: "reset in the middle of a frame", begin: onWires(func(w *wire) { w.set(func() { w.cut = true }) }),
			want: "apiconn.ClosedError", detect: time.Second, recover: backOff},
		{name: "half-open: nothing passes, nobody is told", begin: func(s *scene) func() {
			s.sim.SetFault(proxysim.FaultHalfOpen)
			return func() { s.sim.SetFault(proxysim.FaultNone) }
		}, want: "apiconn.SilentError", detect: 20*time.Second + 500*time.Millisecond, recover: backOff},
		{name: "one byte a second, from the start", note: "each answer has its time: the hello 30 s, the device info 10 s", fresh: true, begin: func(s *scene) func() {
			s.net.change(func() { s.net.slow = true })
			return func() { s.net.change(func() { s.net.slow = false }) }
		}, want: "apiconn.NoAnswerError", detect: 41 * time.Second, recover: backOff},
		{name: "one byte a second, encrypted, from the start", note: "the handshake takes longer than its 60 s", fresh: true, sim: keyed, conf: psk(key), begin: func(s *scene) func() {
			s.net.change(func() { s.net.slow = true })
			return func() { s.net.change(func() { s.net.slow = false }) }
		}, or: "apiconn.ClosedError", want: "apiconn.NoAnswerError", detect: 61 * time.Second, recover: backOff},
		{name: "a frame of 64 KiB - 1", note: "an unknown message as long as frames may be is skipped",
			begin: onWires(func(w *wire) { w.set(func() { w.inject = frame(65535) }) })},
		{name: "a frame of 64 KiB", begin: onWires(func(w *wire) { w.set(func() { w.inject = frame(65536) }) }),
			want: "apiwire.ProtocolError", detect: time.Second, recover: backOff},
		{name: "garbage in the stream", begin: onWires(func(w *wire) { w.set(func() { w.inject = []byte("\xde\xad\xbe\xef\x01\x02\x03") }) }),
			want: "apiwire.ProtocolError", detect: time.Second, recover: backOff},
		{name: "wrong protocol: a web server has the address", note: "a new connection", fresh: true,
			begin: answering(readThen([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))), want: "apiwire.ProtocolError", detect: time.Second, recover: backOff},
		{name: "restart, 3 s", begin: func(s *scene) func() { s.sim.Restart(3 * time.Second); return nil },
			want: "apiconn.ClosedError", detect: time.Second, recover: 7 * time.Second},
		{name: "restart on another address", note: "nobody answers at the old one; measured from the announcement by mDNS, 5 s later", begin: moved,
			want: "apiconn.ClosedError", detect: time.Second, recover: time.Second},
		{name: "restart that nobody was told of, 2 s", note: "the announcement makes us ask, and the answer is a reset", begin: rebooted,
			want: "apiconn.ClosedError", detect: 2500 * time.Millisecond, recover: backOff},
		{name: "outage of 2 s during a GATT read", note: "the read returns 2 s late, nothing is lost", begin: outageDuringRead},
		{name: "theft of the subscription, yield", note: "the proxy is asked each minute whether it is free; here the other host leaves at once",
			begin: theft, want: "apiconn.DisplacedError", detect: 5 * time.Second, recover: 62 * time.Second},
		{name: "theft of the subscription, yield, 2026.7", note: "which does not tell: asked for again after 30 min without a sign of the other host",
			sim:   func(c *proxysim.ProxyConfig) { c.Version = "2026.7.4" },
			begin: theft, want: "apiconn.DisplacedError", detect: 5 * time.Second, recover: 32 * time.Minute},
		{name: "a second host, 2026.6", note: "it gets nothing, and takes nothing",
			sim:   func(c *proxysim.ProxyConfig) { c.Version = "2026.6.5" },
			begin: theft},
		{name: "theft of the subscription, retake", note: "the first time at once, then ever more rarely", conf: func(c *apiconn.Config) { c.OnConflict = apiconn.Retake },
			begin: theft, want: "apiconn.DisplacedError", detect: 5 * time.Second, recover: time.Minute + time.Second},
		{name: "deaf radio", begin: func(s *scene) func() {
			s.silence(false)
			return func() { s.silence(true) }
		}, want: "apiconn.DeafError", detect: 106 * time.Second, recover: 2 * time.Second},
		{name: "slots in use by another host, yield", note: "seen before the first subscription, which is not made", fresh: true, begin: (*scene).occupy, want: "apiconn.ConflictError", detect: time.Second, recover: grown},

		{name: "Noise: wrong key", fresh: true, sim: keyed, conf: psk(otherKey), begin: rekeyed, want: "apiwire.InvalidKeyError", detect: time.Second, recover: grown,
			note: "cured by giving the device our key"},
		{name: "Noise: key on a plaintext device", fresh: true, conf: psk(key), begin: rekeyed, want: "apiwire.PlaintextDeviceError", detect: time.Second, recover: backOff},
		{name: "Noise: no key for an encrypted device", fresh: true, sim: keyed, begin: unkeyed, want: "apiwire.RequiresEncryptionError", detect: time.Second, recover: grown},
		{name: "Noise: device that has no key yet", note: "only the key of zeros would do", fresh: true, sim: func(c *proxysim.ProxyConfig) { c.Unprovisioned = true }, conf: psk(key),
			begin: rekeyed, want: "apiwire.InvalidKeyError", detect: time.Second, recover: grown},
		{name: "Noise: another name", fresh: true, sim: keyed, conf: func(c *apiconn.Config) { c.PSK, c.ExpectName = &key, "attic" },
			begin: nothing, want: "apiconn.NameError", detect: time.Second},
		{name: "Noise: another MAC", fresh: true, sim: keyed, conf: func(c *apiconn.Config) { c.PSK, c.ExpectMAC = &key, "AA:BB:CC:DD:EE:FF" },
			begin: nothing, want: "apiconn.MACError", detect: time.Second},
		{name: "plaintext: another name", fresh: true, conf: func(c *apiconn.Config) { c.ExpectName = "attic" }, begin: nothing, want: "apiconn.NameError", detect: time.Second},
		{name: "plaintext: another MAC", fresh: true, conf: func(c *apiconn.Config) { c.ExpectMAC = "AA:BB:CC:DD:EE:FF" }, begin: nothing, want: "apiconn.MACError", detect: time.Second},
		{name: "Noise: damaged frame after the handshake", sim: keyed, conf: psk(key), begin: onWires(func(w *wire) { w.set(func() { w.tamper = 1 }) }),
			want: "apiconn.DamagedError", detect: time.Second, recover: backOff},
		{name: "Noise: connection lost before the device's hello", fresh: true, sim: keyed, conf: psk(key),
			begin: answering(func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }), want: "apiwire.HelloLostError", detect: time.Second, recover: backOff},
		{name: "Noise: empty hello", fresh: true, sim: keyed, conf: psk(key), begin: answering(readThen([]byte{1, 0, 0})),
			want: "apiwire.HandshakeError", detect: time.Second, recover: backOff},
		{name: "Noise: unknown protocol in the hello", fresh: true, sim: keyed, conf: psk(key), begin: answering(readThen([]byte{1, 0, 1, 7})),
			want: "apiwire.HandshakeError", detect: time.Second, recover: backOff},
		{name: "Noise: refused for another reason than the key", fresh: true, sim: keyed, conf: psk(key),
			begin: answering(readThen(append([]byte{1, 0, 1, 1, 1, 0, 16, 1}, "Handshake error"...))), want: "apiwire.HandshakeError", detect: time.Second, recover: backOff},
		{name: "Noise: damaged answer of the device", fresh: true, sim: keyed, conf: psk(key), note: "it cannot be told from a wrong key",
			begin: func(s *scene) func() {
				s.net.change(func() { s.net.onNew = func(w *wire) { w.tamper = 2 } })
				return func() { s.net.change(func() { s.net.onNew = nil }) }
			}, want: "apiwire.InvalidKeyError", detect: time.Second, recover: grown},
		{name: "wrong password, firmware up to 2025", fresh: true, sim: func(c *proxysim.ProxyConfig) { c.Version, c.Password = "2025.2.0", "secret" },
			conf: func(c *apiconn.Config) { c.Password = "guess" }, begin: nothing, want: "apiconn.PasswordError", detect: time.Second},
	}
}

func nothing(*scene) func() { return nil }

// rekeyed ends a fault of keys: the proxy gets the key of the client.
func rekeyed(s *scene) func() { return s.replace(func(c *proxysim.ProxyConfig) { c.PSK = s.cfg.PSK }) }

func unkeyed(s *scene) func() { return s.replace(func(*proxysim.ProxyConfig) {}) }

func TestMatrix(t *testing.T) {
	rows := matrix()
	for i, f := range rows {
		t.Run(strings.NewReplacer(" ", "-", ",", "", ":", "", "/", "-").Replace(f.name), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := f.run(t)
				w.order = i
				results.add(w)
			})
		})
	}
	fmt.Printf("fault matrix: %d rows in fake time\n", len(rows))
}
