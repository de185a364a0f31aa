package mdns

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Times of an announcement (RFC 6762, 8.3 and 10).
const (
	hostTTL      = 120
	serviceTTL   = 4500
	announceWait = time.Second
)

// Announced is one instance of a service to announce.
type Announced struct {
	Service  string // like _esphomelib._tcp
	Instance string // also the host's name below .local; one label
	Port     uint16
	Addrs    []netip.Addr // none: those of the interface that is answered on
	Text     []string     // key=value
	// Taken, if not nil, is told once if another device announces the same instance, which is one with another mac in its
	// text. It must not block.
	Taken func(mac string)
}

// Responder announces instances and answers questions about them. It asks whether another device has their names, and
// reports it, but does not choose other names: hosts know a device by its name, which the device itself tells them as
// well.
type Responder struct {
	interfaces func() ([]net.Interface, error)
	log        *slog.Logger
	port       int
	list       []Announced
	taken      []atomic.Bool // by index: Taken was told
}

// NewResponder makes a Responder for list. interfaces nil is RealInterfaces, log must not be nil.
func NewResponder(list []Announced, interfaces func() ([]net.Interface, error), log *slog.Logger) *Responder {
	if interfaces == nil {
		interfaces = RealInterfaces
	}
	return &Responder{interfaces: interfaces, log: log, port: mdnsPort, list: slices.Clone(list), taken: make([]atomic.Bool, len(list))}
}

// Run announces all instances, answers until ctx ends, and then withdraws the instances by a goodbye.
func (r *Responder) Run(ctx context.Context) error {
	interfaces, err := r.interfaces()
	if err != nil {
		return err
	}
	s, err := open(ctx, interfaces, r.port)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		s.read(func(b []byte, from net.Interface, four bool) { r.handle(s, b, from, four) })
	})
	for _, a := range r.list {
		if b := query(question{a.Instance + "." + a.Service + ".local", dnsmessage.TypeTXT}); b != nil {
			s.send(b)
		}
	}
	r.announce(s, false)
	if wait(ctx, announceWait) {
		r.announce(s, false)
		<-ctx.Done()
	}
	r.announce(s, true)
	s.close()
	wg.Wait()
	return nil
}

// announce multicasts all records on all interfaces, or withdraws them.
func (r *Responder) announce(s *socket, goodbye bool) {
	for _, a := range r.list {
		for _, i := range s.joined4 {
			s.sendVia(i, true, a.answer(s.interfaces[i], goodbye))
		}
		for _, i := range s.joined6 {
			s.sendVia(i, false, a.answer(s.interfaces[i], goodbye))
		}
	}
}

// handle multicasts all records of an instance that a question is about.
func (r *Responder) handle(s *socket, packet []byte, from net.Interface, four bool) {
	var p dnsmessage.Parser
	h, err := p.Start(packet)
	if err != nil || h.OpCode != 0 {
		return
	}
	if h.Response {
		r.others(packet, from)
		return
	}
	for range maxRecords {
		q, err := p.Question()
		if err != nil {
			return
		}
		name := fold(q.Name.String())
		for _, a := range r.list {
			if name == fold(a.Service)+".local" || name == fold(a.Instance+"."+a.Service)+".local" || name == fold(a.Instance)+".local" {
				s.sendVia(from.Index, four, a.answer(from, false))
			}
		}
	}
}

// others looks in an answer for devices that have the name of one of our instances. Our own answers are received, too.
func (r *Responder) others(packet []byte, from net.Interface) {
	said := parse(packet, from.Name)
	if said == nil {
		return
	}
	for i, a := range r.list {
		if a.Taken == nil {
			continue
		}
		theirs := said.texts[fold(a.Instance+"."+a.Service)+".local"]["mac"]
		if theirs != "" && !strings.EqualFold(theirs, textOf(a.Text)["mac"]) && r.taken[i].CompareAndSwap(false, true) {
			a.Taken(theirs)
		}
	}
}

// answer is a packet with all records of an instance, in the order that devices with ESPHome use; nil if it cannot be
// packed.
func (a Announced) answer(via net.Interface, goodbye bool) []byte {
	ttl := func(seconds uint32) uint32 {
		if goodbye {
			return 0
		}
		return seconds
	}
	service, err1 := dnsmessage.NewName(a.Service + ".local.")
	instance, err2 := dnsmessage.NewName(a.Instance + "." + a.Service + ".local.")
	host, err3 := dnsmessage.NewName(strings.ToLower(a.Instance) + ".local.")
	if err1 != nil || err2 != nil || err3 != nil {
		return nil
	}
	head := func(n dnsmessage.Name, t dnsmessage.Type, class dnsmessage.Class, seconds uint32) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: n, Type: t, Class: class, TTL: ttl(seconds)}
	}
	const own = dnsmessage.ClassINET | flushBit
	text := a.Text
	if len(text) == 0 {
		text = []string{""}
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}}
	m.Answers = []dnsmessage.Resource{
		{Header: head(service, dnsmessage.TypePTR, dnsmessage.ClassINET, serviceTTL), Body: &dnsmessage.PTRResource{PTR: instance}},
	}
	m.Additionals = []dnsmessage.Resource{
		{Header: head(instance, dnsmessage.TypeSRV, own, hostTTL), Body: &dnsmessage.SRVResource{Port: a.Port, Target: host}},
		{Header: head(instance, dnsmessage.TypeTXT, own, serviceTTL), Body: &dnsmessage.TXTResource{TXT: text}},
	}
	addrs := a.Addrs
	if len(addrs) == 0 {
		addrs = addressesOf(via)
	}
	for _, ip := range addrs {
		res := dnsmessage.Resource{Header: head(host, dnsmessage.TypeA, own, hostTTL)}
		if ip.Is4() {
			res.Body = &dnsmessage.AResource{A: ip.As4()}
		} else {
			res.Header.Type, res.Body = dnsmessage.TypeAAAA, &dnsmessage.AAAAResource{AAAA: ip.As16()}
		}
		m.Answers = append(m.Answers, res)
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}
