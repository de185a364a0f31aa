package mdns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/mdns/mdnstest"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

const service = "_esphomelib._tcp"

// TestMain: what other tests on this machine announce is none of ours.
func TestMain(m *testing.M) {
	os.Exit(mdnstest.Main(func() int {
		status := m.Run()
		if err := goleak.Find(); err != nil && status == 0 {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return status
	}))
}

// seen records what a client reports.
type seen struct {
	mu    sync.Mutex
	alive []string
	found []Service
}

func (s *seen) config() Config {
	return Config{
		Service: service,
		Alive: func(n string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.alive = append(s.alive, n)
		},
		Found: func(f Service) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.found = append(s.found, f)
		},
	}
}

func (s *seen) take() (alive []string, found []Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	alive, found = s.alive, s.found
	s.alive, s.found = nil, nil
	slices.Sort(alive)
	return alive, found
}

func kitchen(addrs ...string) Announced {
	a := Announced{Service: service, Instance: "Kitchen", Port: 6053, Text: []string{"mac=aabbccddeeff", "Version=2026.10.0", "api_encryption=Noise_NNpsk0_25519_ChaChaPoly_SHA256"}}
	for _, s := range addrs {
		a.Addrs = append(a.Addrs, netip.MustParseAddr(s))
	}
	return a
}

func TestAnnouncement(t *testing.T) {
	var s seen
	c := New(s.config())
	c.handle(kitchen("192.0.2.7", "fe80::7").answer(net.Interface{}, false), "eth9")
	alive, found := s.take()
	if !slices.Equal(alive, []string{"kitchen"}) || len(found) != 1 {
		t.Fatalf("alive %q, found %v", alive, found)
	}
	f := found[0]
	if f.Instance != "kitchen" || f.Host != "kitchen.local" || f.Port != 6053 || f.Text["version"] != "2026.10.0" || f.Text["mac"] != "aabbccddeeff" {
		t.Errorf("found %+v", f)
	}
	if got := fmt.Sprint(f.Addrs); got != "[192.0.2.7 fe80::7%eth9]" {
		t.Errorf("addresses %s", got)
	}

	// On another address: the old one of the family is replaced.
	c.handle(kitchen("192.0.2.8").answer(net.Interface{}, false), "eth9")
	_, found = s.take()
	if len(found) != 1 || fmt.Sprint(found[0].Addrs) != "[192.0.2.8 fe80::7%eth9]" {
		t.Errorf("found %v after a change", found)
	}
	if got := c.Services(); len(got) != 1 || got[0].Instance != "kitchen" {
		t.Errorf("services %v", got)
	}
	// A goodbye is no sign of life.
	c.handle(kitchen("192.0.2.8").answer(net.Interface{}, true), "eth9")
	alive, found = s.take()
	if len(alive)+len(found) != 0 || len(c.Services()) != 0 {
		t.Errorf("after goodbye: alive %q, found %v, services %v", alive, found, c.Services())
	}
}

func TestForeignRecords(t *testing.T) {
	var s seen
	c := New(s.config())
	other := kitchen("192.0.2.7")
	other.Service = "_http._tcp"
	c.handle(other.answer(net.Interface{}, false), "")
	alive, found := s.take()
	if len(found) != 0 || !slices.Equal(alive, []string{"kitchen"}) { // its host is alive all the same
		t.Errorf("alive %q, found %v", alive, found)
	}
	c.handle(kitchen("0.0.0.0", "::").answer(net.Interface{}, false), "")
	_, found = s.take()
	if len(found) != 0 {
		t.Errorf("found with unspecified addresses only: %v", found)
	}
	c.handle(query(question{service + ".local", dnsmessage.TypePTR}), "")
	alive, _ = s.take()
	if len(alive) != 0 {
		t.Errorf("a question is a sign of life: %q", alive)
	}
}

// TestFlood checks that one sender cannot fill the memory.
func TestFlood(t *testing.T) {
	c := New(Config{Service: service})
	for i := range 4000 {
		a := kitchen(fmt.Sprintf("10.0.%d.%d", i>>8, i&0xff))
		a.Instance = fmt.Sprintf("node-%d", i)
		c.handle(a.answer(net.Interface{}, false), "")
	}
	if len(c.table) > maxServices || len(c.recent) > maxRecent {
		t.Errorf("%d instances, %d hosts", len(c.table), len(c.recent))
	}
}

// TestExpiry: what somebody made up keeps nobody out for ever: it makes room for what is announced later, and is
// forgotten.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{Service: service})
		flood := func() {
			for i := range 2 * maxServices {
				a := kitchen("192.0.2.1")
				a.Instance = fmt.Sprintf("fake-%d", i)
				c.handle(a.answer(net.Interface{}, false), "")
			}
		}
		flood()
		time.Sleep(time.Second)
		c.handle(kitchen("192.0.2.7").answer(net.Interface{}, false), "")
		there := func() bool {
			return slices.ContainsFunc(c.Services(), func(s Service) bool { return s.Instance == "kitchen" })
		}
		if !there() || len(c.table) != maxServices {
			t.Errorf("kitchen: %v, of %d instances", there(), len(c.table))
		}
		time.Sleep(forgetAfter / 2)
		c.handle(kitchen("192.0.2.7").answer(net.Interface{}, false), "")
		time.Sleep(forgetAfter/2 + time.Minute)
		if got := c.Services(); len(got) != 1 || !there() || len(c.table) != 1 {
			t.Errorf("%d instances after %v", len(got), forgetAfter)
		}
		time.Sleep(forgetAfter)
		if got := c.Services(); len(got) != 0 {
			t.Errorf("%d instances are still there", len(got))
		}
	})
}

// TestFloodLookup: a name that somebody waits for is resolved while thousands of others are made up.
func TestFloodLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{Service: service})
		got := make(chan []netip.Addr, 1)
		go func() {
			addrs, _ := c.Lookup(t.Context(), "kitchen.local")
			got <- addrs
		}()
		synctest.Wait()
		for i := range 2 * maxRecent {
			a := kitchen("192.0.2.1")
			a.Instance = fmt.Sprintf("fake-%d", i)
			c.handle(a.answer(net.Interface{}, false), "")
		}
		c.handle(kitchen("192.0.2.7").answer(net.Interface{}, false), "")
		time.Sleep(time.Second)
		select {
		case addrs := <-got:
			if fmt.Sprint(addrs) != "[192.0.2.7]" {
				t.Errorf("%v", addrs)
			}
		default:
			t.Error("kitchen.local is not resolved")
		}
		if len(c.recent) > maxRecent {
			t.Errorf("%d hosts", len(c.recent))
		}
	})
}

// TestQuestions checks when what is asked, by the fake clock.
func TestQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var log []string
		c := New(Config{Service: service})
		c.attach(func(b []byte) {
			var m dnsmessage.Message
			if err := m.Unpack(b); err != nil {
				t.Error(err)
				return
			}
			line := time.Since(begun).String()
			for _, q := range m.Questions {
				line += fmt.Sprintf(" %v %v", q.Name, q.Type)
			}
			log = append(log, line)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
		defer cancel()
		c.browse(ctx)
		const ptr = " _esphomelib._tcp.local. TypePTR"
		if want := []string{"0s" + ptr, "1s" + ptr, "4s" + ptr, "13s" + ptr, "40s" + ptr}; !slices.Equal(log, want) {
			t.Errorf("asked\n %q, want\n %q", log, want)
		}
		// Only the pointer came: the rest is asked for, three times.
		log, begun = nil, time.Now()
		name, inst := dnsmessage.MustNewName(service+".local."), dnsmessage.MustNewName("attic."+service+".local.")
		m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Answers: []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 10}, Body: &dnsmessage.PTRResource{PTR: inst},
		}}}
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		c.handle(b, "")
		ctx2, cancel2 := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel2()
		c.browse(ctx2)
		n := 0
		for _, l := range log {
			if len(l) > 10 && slices.Contains([]string{"1s", "2s", "3s"}, l[:2]) && l[3:8] == "attic" {
				n++
			}
		}
		if n != maxAsked {
			t.Errorf("asked %d times for an incomplete instance: %q", n, log)
		}
	})
}

func TestLookupAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{})
		asked := 0
		c.attach(func([]byte) { asked++ })
		begun := time.Now()
		go func() {
			wait(t.Context(), 5*time.Second)
			c.handle(kitchen("192.0.2.7").answer(net.Interface{}, false), "")
			c.handle(kitchen("fd00::7").answer(net.Interface{}, false), "")
		}()
		got, err := c.Lookup(t.Context(), "KITCHEN.local.")
		if err != nil || len(got) != 2 || time.Since(begun) > 6*time.Second || asked != 3 { // at 0, 1 and 3 s
			t.Errorf("%v %v after %v and %d questions", got, err, time.Since(begun), asked)
		}
		// What was just said is not asked for again; later it is.
		got, err = c.Lookup(t.Context(), "kitchen")
		if err != nil || len(got) != 2 || asked != 3 {
			t.Errorf("right after: %v %v after %d questions", got, err, asked)
		}
		wait(t.Context(), 3*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		got, err = c.Lookup(ctx, "kitchen")
		if !errors.Is(err, errNobody) || asked != 5 || len(c.asks) != 0 {
			t.Errorf("later: %v %v after %d questions", got, err, asked)
		}
	})
}

// table is a system resolver; names that are not there fail.
type table map[string][]netip.Addr

func (s table) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a := s[host]; a != nil {
		return a, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func TestResolve(t *testing.T) {
	one, two, none := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("0.0.0.0")
	for _, tt := range []struct {
		name, host string
		system     table
		announced  bool
		want       []netip.Addr
	}{
		{"plain DNS", "proxy.example.org", table{"proxy.example.org": {one}}, true, []netip.Addr{one}},
		{"DNS that knows .local", "kitchen.local", table{"kitchen.local": {one}}, false, []netip.Addr{one}},
		{"DNS that knows the short name", "kitchen.local.", table{"kitchen": {one}}, false, []netip.Addr{one}},
		{"short name", "kitchen", table{}, true, []netip.Addr{two}},
		{"multicast", "Kitchen.local", table{}, true, []netip.Addr{two}},
		{"DNS gives an unspecified address", "kitchen.local", table{"kitchen.local": {none}}, true, []netip.Addr{two}},
		{"nobody", "kitchen.local", table{}, false, nil},
		{"localhost", "localhost", table{"localhost": {one}}, true, []netip.Addr{one}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(Config{})
				if tt.announced {
					go func() {
						wait(t.Context(), time.Second)
						c.handle(kitchen("192.0.2.2").answer(net.Interface{}, false), "")
					}()
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				got, err := c.Resolve(ctx, tt.system, tt.host)
				if !slices.Equal(got, tt.want) || (err == nil) != (tt.want != nil) {
					t.Errorf("got %v, %v", got, err)
				}
				wait(t.Context(), 2*time.Second) // the announcement comes in any case
			})
		})
	}
}

// FuzzHandle feeds packets to a client and to a responder's parser.
func FuzzHandle(f *testing.F) {
	f.Add(kitchen("192.0.2.7", "fe80::7").answer(net.Interface{}, false))
	f.Add(kitchen("192.0.2.7").answer(net.Interface{}, true))
	f.Add(query(question{service + ".local", dnsmessage.TypePTR}))
	f.Add([]byte{0, 0, 0x84, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := New(Config{Service: service})
		c.handle(b, "eth0")
		for _, s := range c.Services() {
			if s.Port == 0 || s.Host == "" || len(s.Addrs) == 0 || len(s.Addrs) > maxAddresses {
				t.Errorf("incomplete: %+v", s)
			}
		}
		(&Responder{log: slog.New(slog.DiscardHandler)}).handle(nil, b, net.Interface{}, true)
	})
}
