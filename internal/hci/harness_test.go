package hci

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/att"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/links/linkstest"
	"bluez-esphome/internal/smp"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	device = ble.Address(0x00aa01010001) // of the recordings
	other  = ble.Address(0xc41122334455)
)

// rig is a controller with its host at the other end of a pipe, fake links, and fake servers of channels 4 and 6. It
// lives in a bubble of synctest.
type rig struct {
	t      *testing.T
	c      *Controller
	links  *linkstest.Links
	events links.Events // of the latest hold
	holds  int
	air    *fakeAir
	host   net.Conn
	wishes int

	mu   sync.Mutex
	got  []string // packets from the controller, hex
	atts []*fakeATT
	smps []*fakeSMP
	keep fakeStore
}

// pipes is a Transport whose hosts are ends of pipes.
type pipes chan net.Conn

type pipeConn struct{ net.Conn }

func (pipeConn) Name() string  { return "pipe" }
func (pipeConn) Packets() bool { return false }

func (p pipes) Open(ctx context.Context) (Conn, error) {
	select {
	case c := <-p:
		return pipeConn{c}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p pipes) Close() error { return nil }

type heardAt struct {
	raw ble.RawAdvert
	at  time.Time
}

type fakeAir struct {
	mu     sync.Mutex
	last   map[ble.Address]heardAt
	linked map[ble.Address]bool
	full   bool

	passive atomic.Bool
}

func (f *fakeAir) Last(a ble.Address) (ble.RawAdvert, time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, ok := f.last[a]
	return h.raw, h.at, ok
}

func (f *fakeAir) Linked(a ble.Address) bool { return f.linked[a] }
func (f *fakeAir) Via(ble.Address) string    { return "" }
func (f *fakeAir) Passive() bool             { return f.passive.Load() }
func (f *fakeAir) Full() bool                { return f.full }

type fakeStore struct {
	keys map[ble.Address]smp.Key
	seen map[ble.Address]att.Seen
}

func (s fakeStore) Key(a ble.Address) (smp.Key, bool)    { k, ok := s.keys[a]; return k, ok }
func (s fakeStore) SetKey(a ble.Address, k smp.Key)      { s.keys[a] = k }
func (s fakeStore) Seen(a ble.Address) att.Seen          { return s.seen[a] }
func (s fakeStore) SetSeen(a ble.Address, seen att.Seen) { s.seen[a] = seen }

// fakeATT notes what it is given. Credits are given back at once unless it holds them.
type fakeATT struct {
	cfg    att.Config
	got    []string
	holds  bool
	held   []func()
	closed bool
}

func (f *fakeATT) Receive(pdu []byte, taken func()) {
	f.got = append(f.got, hex.EncodeToString(pdu))
	if f.holds {
		f.held = append(f.held, taken)
		return
	}
	taken()
}
func (f *fakeATT) Resolved(_ *ble.Database, mtu int) { f.got = append(f.got, "resolved") }
func (f *fakeATT) Notified(h uint16, v []byte) {
	f.got = append(f.got, "notified "+hex.EncodeToString(v))
}
func (f *fakeATT) DatabaseChanged(*ble.Database) { f.got = append(f.got, "changed") }
func (f *fakeATT) Unsubscribed(h uint16)         { f.got = append(f.got, "unsubscribed") }
func (f *fakeATT) Close()                        { f.closed = true }

type fakeSMP struct {
	cfg    smp.Config
	got    []string
	status byte
	closed bool
}

func (f *fakeSMP) Receive(pdu []byte) { f.got = append(f.got, hex.EncodeToString(pdu)) }
func (f *fakeSMP) Encrypt(_ [8]byte, _ uint16, _ [16]byte, done func(byte)) {
	done(f.status)
}
func (f *fakeSMP) Lost()  {}
func (f *fakeSMP) Close() { f.closed = true }

// run starts a controller in a bubble, and ends it when f returns.
func run(t *testing.T, f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		hosts := r.c.cfg.Transport.(pipes)
		var wg sync.WaitGroup
		wg.Go(func() { _ = r.c.Run(ctx) })
		near, far := net.Pipe()
		hosts <- near
		r.host = far
		wg.Go(func() { r.collect(far) })
		synctest.Wait()
		f(r)
		cancel()
		_ = far.Close()
		wg.Wait()
	})
}

func newRig(t *testing.T) *rig {
	r := &rig{
		t: t, links: linkstest.NewLinks(t), air: &fakeAir{last: map[ble.Address]heardAt{}, linked: map[ble.Address]bool{}},
		keep: fakeStore{map[ble.Address]smp.Key{}, map[ble.Address]att.Seen{}},
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("HCI_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	r.c = New(Config{
		Name: "test", Address: 0x02e550000001, Transport: make(pipes), Air: r.air, Store: r.keep, Log: log,
		Links: func(e links.Events) links.Links { r.events = e; r.holds++; return r.links },
		NewATT: func(cfg att.Config) ATT {
			f := &fakeATT{cfg: cfg}
			r.atts = append(r.atts, f)
			return f
		},
		NewSMP: func(cfg smp.Config) Security {
			f := &fakeSMP{cfg: cfg}
			r.smps = append(r.smps, f)
			return f
		},
		WishChanged: func() { r.wishes++ },
	})
	return r
}

// collect takes apart what the controller sends.
func (r *rig) collect(conn io.Reader) {
	buf := make([]byte, 65536)
	var rest []byte
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		rest = append(rest, buf[:n]...)
		for {
			size := 0
			switch {
			case len(rest) >= 3 && rest[0] == typeEvent:
				size = 3 + int(rest[2])
			case len(rest) >= 5 && rest[0] == typeACL:
				size = 5 + int(u16(rest[3:]))
			}
			if size == 0 || size > len(rest) {
				break
			}
			r.mu.Lock()
			r.got = append(r.got, hex.EncodeToString(rest[:size]))
			r.mu.Unlock()
			rest = rest[size:]
		}
	}
}

// say sends a packet of the host, hex.
func (r *rig) say(packet string) {
	r.t.Helper()
	b, err := hex.DecodeString(packet)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.host.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// heard is what the controller sent since it was last asked, once everything is quiet.
func (r *rig) heard() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// want checks what the controller sent.
func (r *rig) want(packets ...string) {
	r.t.Helper()
	if got := r.heard(); strings.Join(got, " ") != strings.Join(packets, " ") {
		r.t.Fatalf("the host got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(packets, "\n"))
	}
}

// ask sends a command and checks the answer.
func (r *rig) ask(packet string, answers ...string) {
	r.t.Helper()
	r.say(packet)
	r.want(answers...)
}

// advertise has a device heard now.
func (r *rig) advertise(a ble.Address, data string) {
	b, _ := hex.DecodeString(data)
	raw := ble.RawAdvert{Address: a, RSSI: -61, Data: b}
	if a == other {
		raw.Type = ble.Random
	}
	r.air.mu.Lock()
	r.air.last[a] = heardAt{raw, time.Now()}
	r.air.mu.Unlock()
	r.c.Adverts(time.Now(), []ble.RawAdvert{raw})
}

const (
	createConnection = "010d201960006000000001000101aa00001800280000002a0000000000"
	connectionStatus = "040f0400010d20"
	connected        = "043e1301004000000001000101aa0028000000" + "2a0000"
	linkLost         = "04050400400008"
)

// connect brings up the link to device with handle 0x0040, resolved.
func (r *rig) connect() {
	r.t.Helper()
	r.advertise(device, "020106")
	r.ask(createConnection, connectionStatus)
	op := r.links.Next(r.t, "Connect")
	r.events.LinkUp(device, 247)
	op.End(nil)
	r.events.Resolved(device, &ble.Database{}, 247)
	if got := r.heard(); len(got) != 1 || !strings.HasPrefix(got[0], connected[:8]+"00") {
		r.t.Fatalf("the host got %q", got)
	}
}

var errAny = errors.New("any error")

type linkOp = linkstest.Op

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// connect2 connects again, whatever the handle is.
func (r *rig) connect2() {
	r.t.Helper()
	r.ask(createConnection, connectionStatus)
	op := r.links.Next(r.t, "Connect")
	r.events.LinkUp(device, 247)
	op.End(nil)
	if got := r.heard(); len(got) != 1 {
		r.t.Fatalf("the host got %q", got)
	}
}
