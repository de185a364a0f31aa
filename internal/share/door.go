package share

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"bluez-esphome/internal/lockorder"
)

const (
	// maxStrangers bounds the connections to one shared proxy that have not yet shown that they have the key, or,
	// without one, said hello.
	maxStrangers = 64
	// maxHosts bounds the hosts of one shared proxy, maxHostsEach those from one address.
	maxHosts     = 64
	maxHostsEach = 16
)

// door is the connections to one shared proxy. Places are counted by where connections come from: when there is none
// left, it is the network that has the most that loses one, and in it the address that has the most. So whoever opens
// many connections takes places from nobody else, neither with all the addresses of a network of IPv6, nor as a
// neighbour in one.
type door struct {
	log *slog.Logger

	mu        lockorder.Mutex[lockorder.ShareDoor]
	strangers []*visitor // the oldest first
	hosts     []*visitor // the oldest first
}

// visitor is one connection.
type visitor struct {
	conn net.Conn
	addr netip.Addr
	// network is where one device has as many addresses as it likes: with IPv4 the address alone, with IPv6 its /64.
	network netip.Prefix
}

func newVisitor(conn net.Conn) *visitor {
	v := &visitor{conn: conn}
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		v.addr = a.AddrPort().Addr().Unmap().WithZone("")
		bits := v.addr.BitLen()
		if v.addr.Is6() {
			bits = 64
		}
		v.network, _ = v.addr.Prefix(bits)
	}
	return v
}

func networkOf(v *visitor) netip.Prefix { return v.network }

func addrOf(v *visitor) netip.Addr { return v.addr }

// knock lets a connection in as a stranger, if need be in place of the oldest from the address that has the most.
func (d *door) knock(conn net.Conn) *visitor {
	v := newVisitor(conn)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.strangers = append(d.strangers, v)
	if len(d.strangers) > maxStrangers {
		network, _ := crowd(d.strangers, networkOf)
		addr, _ := crowd(of(d.strangers, networkOf, network), addrOf)
		i := slices.IndexFunc(d.strangers, func(w *visitor) bool { return w.addr == addr })
		_ = d.strangers[i].conn.Close() // which ends its session
		d.strangers = slices.Delete(d.strangers, i, i+1)
	}
	return v
}

// enter makes a host of a stranger, and reports false if there are too many. A host makes room whose network has most
// of them, and at least two more than the stranger's, or else whose address has so many in the stranger's own network:
// the newest of these.
func (d *door) enter(v *visitor) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.strangers, v)
	if i < 0 {
		return slices.Contains(d.hosts, v)
	}
	d.strangers = slices.Delete(d.strangers, i, i+1)
	if len(of(d.hosts, addrOf, v.addr)) >= maxHostsEach {
		d.log.Warn("Too many hosts share the proxy from one address", "address", v.addr.String(), "limit", maxHostsEach)
		return false
	}
	if len(d.hosts) >= maxHosts {
		out := d.outweighed(v)
		if out == nil {
			d.log.Warn("Too many hosts share the proxy", "address", v.addr.String(), "limit", maxHosts)
			return false
		}
		d.log.Warn("Many hosts share the proxy; one from the address that has most of them makes room", "address", out.addr.String())
		_ = out.conn.Close()
		d.hosts = slices.DeleteFunc(d.hosts, func(w *visitor) bool { return w == out })
	}
	d.hosts = append(d.hosts, v)
	return true
}

// outweighed gives the host that makes room for a stranger, nil if none has to. With mu.
func (d *door) outweighed(v *visitor) *visitor {
	mine := of(d.hosts, networkOf, v.network)
	network, n := crowd(d.hosts, networkOf)
	if n < len(mine)+2 { // then only a neighbour can have too many
		network = v.network
	}
	list := of(d.hosts, networkOf, network)
	if len(list) == 0 {
		return nil
	}
	addr, n := crowd(list, addrOf)
	if network == v.network && n < len(of(mine, addrOf, v.addr))+2 {
		return nil
	}
	list = of(list, addrOf, addr)
	return list[len(list)-1]
}

// leave forgets a connection that has ended.
func (d *door) leave(v *visitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	is := func(w *visitor) bool { return w == v }
	d.strangers = slices.DeleteFunc(d.strangers, is)
	d.hosts = slices.DeleteFunc(d.hosts, is)
}

// of gives those of the list that have the key.
func of[K comparable](list []*visitor, key func(*visitor) K, is K) (out []*visitor) {
	for _, v := range list {
		if key(v) == is {
			out = append(out, v)
		}
	}
	return out
}

// crowd is the key that most of the list have, and how many these are; of several keys the one that was there first.
// The list is not empty.
func crowd[K comparable](list []*visitor, key func(*visitor) K) (most K, n int) {
	counts := make(map[K]int, len(list))
	for _, v := range list {
		counts[key(v)]++
	}
	most = key(list[0])
	for _, v := range list {
		if counts[key(v)] > counts[most] {
			most = key(v)
		}
	}
	return most, counts[most]
}
