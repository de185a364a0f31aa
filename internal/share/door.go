package share

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"bluez-esphome/internal/lockorder"
)

const (
	// maxStrangers bounds the connections to one shared proxy that have not yet shown that they have the key, or, without
	// one, said hello.
	maxStrangers = 64
	// maxHosts bounds the hosts of one shared proxy, maxHostsEach those from one address.
	maxHosts     = 64
	maxHostsEach = 16
)

// door is the connections to one shared proxy. Places are counted by where connections come from: when there is none
// left, it is the address that has the most that loses one, so that whoever opens many connections takes places from
// nobody else.
type door struct {
	log *slog.Logger

	mu        lockorder.Mutex[lockorder.ShareDoor]
	strangers []*visitor // the oldest first
	hosts     []*visitor // the oldest first
}

// visitor is one connection.
type visitor struct {
	conn net.Conn
	from netip.Prefix
}

// newVisitor takes a network of IPv6 for one address, since one device has as many as it likes there.
func newVisitor(conn net.Conn) *visitor {
	v := &visitor{conn: conn}
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		ip := a.AddrPort().Addr().Unmap()
		bits := ip.BitLen()
		if ip.Is6() {
			bits = 64
		}
		v.from, _ = ip.WithZone("").Prefix(bits)
	}
	return v
}

// knock lets a connection in as a stranger, if need be in place of the oldest from the address that has the most.
func (d *door) knock(conn net.Conn) *visitor {
	v := newVisitor(conn)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.strangers = append(d.strangers, v)
	if len(d.strangers) > maxStrangers {
		i := slices.IndexFunc(d.strangers, func(w *visitor) bool { return w.from == crowd(d.strangers) })
		_ = d.strangers[i].conn.Close() // which ends its session
		d.strangers = slices.Delete(d.strangers, i, i+1)
	}
	return v
}

// enter makes a host of a stranger, and reports false if there are too many. A host makes room whose address has most
// of them, and at least two more than the stranger's: the newest of these.
func (d *door) enter(v *visitor) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.strangers, v)
	if i < 0 {
		return slices.Contains(d.hosts, v)
	}
	d.strangers = slices.Delete(d.strangers, i, i+1)
	if count(d.hosts, v.from) >= maxHostsEach {
		d.log.Warn("Too many hosts share the proxy from one address", "address", v.from.Addr().String(), "limit", maxHostsEach)
		return false
	}
	if len(d.hosts) >= maxHosts {
		most := crowd(d.hosts)
		if count(d.hosts, most) < count(d.hosts, v.from)+2 {
			d.log.Warn("Too many hosts share the proxy", "address", v.from.Addr().String(), "limit", maxHosts)
			return false
		}
		for j := len(d.hosts) - 1; j >= 0; j-- {
			if w := d.hosts[j]; w.from == most {
				d.log.Warn("Many hosts share the proxy; one from the address that has most of them makes room", "address", most.Addr().String())
				_ = w.conn.Close()
				d.hosts = slices.Delete(d.hosts, j, j+1)
				break
			}
		}
	}
	d.hosts = append(d.hosts, v)
	return true
}

// leave forgets a connection that has ended.
func (d *door) leave(v *visitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	is := func(w *visitor) bool { return w == v }
	d.strangers = slices.DeleteFunc(d.strangers, is)
	d.hosts = slices.DeleteFunc(d.hosts, is)
}

func count(list []*visitor, from netip.Prefix) int {
	n := 0
	for _, v := range list {
		if v.from == from {
			n++
		}
	}
	return n
}

// crowd is the address that has most of the list, and of several that have as many the one that was there first.
func crowd(list []*visitor) netip.Prefix {
	counts := make(map[netip.Prefix]int, len(list))
	for _, v := range list {
		counts[v.from]++
	}
	most := list[0].from
	for _, v := range list {
		if counts[v.from] > counts[most] {
			most = v.from
		}
	}
	return most
}
