package mdns

import (
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// maxRecords bounds what one packet may hold; a browse answer of one device has about six.
	maxRecords = 256
	// flushBit in the class of a record: the record replaces what was known before (RFC 6762, 10.2).
	flushBit = 0x8000
	maxText  = 32 // keys of a TXT record that are kept
)

// records is the content of one answer, with names in lower case and without the final dot.
type records struct {
	pointers  []pointer
	servers   map[string]server // by instance name
	texts     map[string]map[string]string
	addresses map[string]*addresses // by host name
}

type pointer struct {
	service, instance string
	gone              bool // a goodbye: the time to live is zero
}

type server struct {
	host string
	port uint16
}

// addresses of one host in one packet; flush tells which families replace the known ones.
type addresses struct {
	list     []netip.Addr
	flush4   bool
	flush6   bool
	anyAlive bool
}

// fold brings a name into the form in which names are compared.
func fold(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// parse reads an answer. It returns nil for a packet that is no answer, or that is damaged from the start; records
// before the damage count. zone is added to link-local addresses.
func parse(packet []byte, zone string) *records {
	var p dnsmessage.Parser
	h, err := p.Start(packet)
	if err != nil || !h.Response || h.OpCode != 0 || p.SkipAllQuestions() != nil {
		return nil
	}
	r := &records{servers: map[string]server{}, texts: map[string]map[string]string{}, addresses: map[string]*addresses{}}
	n := 0
	for _, next := range []func() (dnsmessage.Resource, error){p.Answer, nil, p.Additional} {
		if next == nil {
			if p.SkipAllAuthorities() != nil {
				return r
			}
			continue
		}
		for ; n < maxRecords; n++ {
			res, err := next()
			if err == dnsmessage.ErrSectionDone {
				break
			}
			if err != nil {
				return r
			}
			r.add(res, zone)
		}
	}
	return r
}

func (r *records) add(res dnsmessage.Resource, zone string) {
	if res.Header.Class&^flushBit != dnsmessage.ClassINET {
		return
	}
	name, alive := fold(res.Header.Name.String()), res.Header.TTL > 0
	switch body := res.Body.(type) {
	case *dnsmessage.PTRResource:
		r.pointers = append(r.pointers, pointer{service: name, instance: fold(body.PTR.String()), gone: !alive})
	case *dnsmessage.SRVResource:
		if alive {
			r.servers[name] = server{fold(body.Target.String()), body.Port}
		}
	case *dnsmessage.TXTResource:
		if alive {
			r.texts[name] = textOf(body.TXT)
		}
	case *dnsmessage.AResource:
		r.address(name, netip.AddrFrom4(body.A), res.Header)
	case *dnsmessage.AAAAResource:
		a := netip.AddrFrom16(body.AAAA).Unmap()
		if a.IsLinkLocalUnicast() && a.Is6() {
			a = a.WithZone(zone)
		}
		r.address(name, a, res.Header)
	}
}

func (r *records) address(host string, a netip.Addr, h dnsmessage.ResourceHeader) {
	l := r.addresses[host]
	if l == nil {
		l = new(addresses)
		r.addresses[host] = l
	}
	if h.Class&flushBit != 0 {
		l.flush4, l.flush6 = l.flush4 || a.Is4(), l.flush6 || a.Is6()
	}
	if h.TTL > 0 && usable(a) && len(l.list) < maxAddresses {
		l.list, l.anyAlive = append(l.list, a), true
	}
}

// usable reports whether a device can be reached at an address.
func usable(a netip.Addr) bool { return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() }

// merge gives the addresses of a host as they are after a packet.
func (l *addresses) merge(known []netip.Addr) []netip.Addr {
	out := append([]netip.Addr(nil), l.list...)
	for _, a := range known {
		if a.Is4() && l.flush4 || a.Is6() && l.flush6 || len(out) >= maxAddresses || contains(out, a) {
			continue
		}
		out = append(out, a)
	}
	return out
}

func contains(list []netip.Addr, a netip.Addr) bool {
	for _, b := range list {
		if a == b {
			return true
		}
	}
	return false
}

// textOf reads key=value strings; keys are case-insensitive and the first counts (RFC 6763, 6.4).
func textOf(list []string) map[string]string {
	out := make(map[string]string, min(len(list), maxText))
	for _, s := range list {
		key, value, _ := strings.Cut(s, "=")
		key = strings.ToLower(key)
		if _, dup := out[key]; key == "" || dup || len(out) >= maxText {
			continue
		}
		out[key] = value
	}
	return out
}

type question struct {
	name string
	typ  dnsmessage.Type
}

// query makes a packet that asks for all of qs; names that cannot be packed are left out.
func query(qs ...question) []byte {
	m := dnsmessage.Message{}
	for _, q := range qs {
		name, err := dnsmessage.NewName(q.name + ".")
		if err != nil {
			continue
		}
		m.Questions = append(m.Questions, dnsmessage.Question{Name: name, Type: q.typ, Class: dnsmessage.ClassINET})
	}
	if len(m.Questions) == 0 {
		return nil
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}
