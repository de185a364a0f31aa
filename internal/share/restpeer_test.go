package share

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/relay"
)

// fakeDevice is the real device: it notes what comes in each session and says what a test has it say.
type fakeDevice struct {
	t    *testing.T
	full bool
	deaf bool // sessions are not read from once they are open
	end  chan struct{}

	mu       sync.Mutex
	sessions []*deviceSession
}

// deviceSession is one session of a fakeDevice.
type deviceSession struct {
	conn  net.Conn
	f     *apiwire.Framer
	hello *apipb.HelloRequest

	mu  sync.Mutex
	got []relay.Message
}

func (d *fakeDevice) Open(ctx context.Context, hello relay.Hello) (*relay.Session, error) {
	return relay.Device{MAC: testInfo.MAC, Dial: func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.full {
			_ = theirs.Close()
			return ours, nil
		}
		s := &deviceSession{conn: theirs}
		d.sessions = append(d.sessions, s)
		go s.run(d)
		return ours, nil
	}}.Open(ctx, hello)
}

func (d *fakeDevice) Entities(context.Context) ([]relay.Message, error) {
	return []relay.Message{{ID: 16, Payload: []byte{0x0a, 1, 'x'}}, {ID: apiwire.ListEntitiesDoneResponse}}, nil
}

func (d *fakeDevice) Capabilities(context.Context) ([]byte, error) { return nil, errors.New("none") }

func (d *fakeDevice) session(i int) *deviceSession {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.sessions) <= i {
		d.t.Fatalf("the device has %d sessions, want one more than %d", len(d.sessions), i)
	}
	return d.sessions[i]
}

func (s *deviceSession) run(d *fakeDevice) {
	defer func() { _ = s.conn.Close() }()
	var err error
	s.f, err = apiwire.ServerPlain(s.conn)
	if err != nil {
		return
	}
	for {
		id, payload, err := s.f.Read()
		if err != nil {
			return
		}
		switch id {
		case apiwire.HelloRequest:
			m, _ := apiwire.Unmarshal(id, payload)
			s.hello = m.(*apipb.HelloRequest)
			s.say(&apipb.HelloResponse{ApiVersionMajor: 1, ApiVersionMinor: 19})
		case apiwire.AuthenticationRequest:
		case apiwire.DeviceInfoRequest:
			s.say(&apipb.DeviceInfoResponse{MacAddress: testInfo.MAC})
			if d.deaf {
				<-d.end
				return
			}
		default:
			s.mu.Lock()
			s.got = append(s.got, relay.Message{ID: id, Payload: slices.Clone(payload)})
			s.mu.Unlock()
		}
	}
}

func (s *deviceSession) say(m proto.Message) {
	out, err := s.f.AppendMessage(nil, m)
	if err == nil {
		_, err = s.conn.Write(out)
	}
	_ = err // the other side may be gone
}

// tell sends a message that nobody reads, and reports whether it was taken.
func (s *deviceSession) tell(id apiwire.ID, payload []byte) bool {
	out, err := s.f.Append(nil, id, payload)
	if err == nil {
		_, err = s.conn.Write(out)
	}
	return err == nil
}

// heard is what came of the host, once all is quiet.
func (s *deviceSession) heard() []relay.Message {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// house is a shared proxy in a bubble of synctest, without a listener.
type house struct {
	t      *testing.T
	p      *Proxy
	ctx    context.Context
	device *fakeDevice
}

// inHouse runs a test in one.
func inHouse(t *testing.T, test func(h *house)) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{
			Names: "{name}-shared", Installation: 1, ModeChanged: func(string) {}, Log: slog.New(slog.DiscardHandler),
			Links: func(_ Host, ev links.Events) links.Links { return newFakeLinks(t, ev) },
		})
		ctx, cancel := context.WithCancel(context.Background())
		d := &fakeDevice{t: t, end: make(chan struct{})}
		p := &Proxy{
			srv: s, id: "kitchen", name: "kitchen", rest: d, device: s.cfg.device(testInfo, 0x246f28000001), minor: 19, cancel: cancel,
			hosts: map[*apiserver.Session]*host{}, log: s.cfg.Log,
		}
		p.Slots(ble.Slots{Known: true, Free: 3, Limit: 3, HasAllocated: true})
		p.Scanner(ble.ScannerRunning, ble.ScanPassive, ble.ScanPassive)
		h := &house{t: t, p: p, ctx: ctx, device: d}
		defer func() {
			cancel()
			close(d.end)
			s.Close()
			d.mu.Lock()
			for _, ds := range d.sessions {
				_ = ds.conn.Close()
			}
			d.mu.Unlock()
			synctest.Wait()
		}()
		test(h)
	})
}

// roommate is a host in a house. What it is sent is kept, unless it does not read.
type roommate struct {
	*client
	mu    sync.Mutex
	heard []relay.Message
	ended bool
	why   error // of its session; valid once it is over
	over  chan struct{}
}

// host lets a host in; one that does not read stops to do so once it is in.
func (h *house) host(reads bool) *roommate {
	near, far := net.Pipe()
	r := &roommate{client: &client{t: h.t, conn: near, f: apiwire.NewPlain(near)}, over: make(chan struct{})}
	go func() {
		defer close(r.over)
		r.why = apiserver.Serve(h.ctx, far, h.p.session(), h.p)
	}()
	go func() {
		for {
			id, payload, err := r.f.Read()
			r.mu.Lock()
			if err != nil {
				r.ended = true
				r.mu.Unlock()
				return
			}
			r.heard = append(r.heard, relay.Message{ID: id, Payload: slices.Clone(payload)})
			r.mu.Unlock()
			if !reads && id == apiwire.PingResponse {
				return
			}
		}
	}()
	r.send(&apipb.HelloRequest{ClientInfo: "Home Assistant 2026.11", ApiVersionMajor: 1, ApiVersionMinor: 17}, &apipb.PingRequest{})
	synctest.Wait()
	return r
}

// unread sends a message that nobody here knows.
func (r *roommate) unread(id apiwire.ID, payload ...byte) error {
	out, err := r.f.Append(nil, id, payload)
	if err == nil {
		_, err = r.conn.Write(out)
	}
	return err
}

// got is what the host was sent of a number, once all is quiet.
func (r *roommate) got(id apiwire.ID) []relay.Message {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []relay.Message
	for _, m := range r.heard {
		if m.ID == id {
			out = append(out, m)
		}
	}
	return out
}

// isOver reports whether the host's session ended.
func (r *roommate) isOver() bool {
	synctest.Wait()
	select {
	case <-r.over:
		return true
	default:
		return false
	}
}
