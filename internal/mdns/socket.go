package mdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Group addresses and the port of multicast DNS (RFC 6762, 3).
var (
	group4 = net.IPv4(224, 0, 0, 251)
	group6 = net.ParseIP("ff02::fb")
)

const (
	mdnsPort  = 5353
	maxPacket = 9000 // RFC 6762, 17
	hopLimit  = 255  // RFC 6762, 11
)

// RealInterfaces are the interfaces that are up and can multicast, without loopback and tunnels.
func RealInterfaces() ([]net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("cannot list the network interfaces: %w", err)
	}
	const want, not = net.FlagUp | net.FlagMulticast, net.FlagLoopback | net.FlagPointToPoint
	return slices.DeleteFunc(all, func(i net.Interface) bool { return i.Flags&want != want || i.Flags&not != 0 }), nil
}

// NamedInterfaces gives a function for Config.Interfaces that lists the interfaces with these names; loopback may be
// one.
func NamedInterfaces(names ...string) func() ([]net.Interface, error) {
	return func() ([]net.Interface, error) {
		var out []net.Interface
		for _, n := range names {
			i, err := net.InterfaceByName(n)
			if err != nil {
				return nil, fmt.Errorf("cannot use network interface %q: %w", n, err)
			}
			out = append(out, *i)
		}
		return out, nil
	}
}

// socket sends to and receives from the groups on some interfaces, over IPv4 and IPv6 as far as they are there.
type socket struct {
	v4 *ipv4.PacketConn
	v6 *ipv6.PacketConn
	// interfaces by index; their names are the zones.
	interfaces map[int]net.Interface
	joined4    []int
	joined6    []int
	port       int
}

// open joins the groups. Other responders of the machine may have the same port.
func open(ctx context.Context, interfaces []net.Interface, port int) (*socket, error) {
	s := &socket{interfaces: map[int]net.Interface{}, port: port}
	for _, i := range interfaces {
		s.interfaces[i.Index] = i
	}
	lc := net.ListenConfig{Control: share}
	var errs []error
	if c, err := lc.ListenPacket(ctx, "udp4", "0.0.0.0:"+strconv.Itoa(port)); err != nil {
		errs = append(errs, err)
	} else {
		s.v4 = ipv4.NewPacketConn(c)
		for _, i := range interfaces {
			if err := s.v4.JoinGroup(&i, &net.UDPAddr{IP: group4}); err != nil {
				errs = append(errs, err)
				continue
			}
			s.joined4 = append(s.joined4, i.Index)
		}
		errs = append(errs, s.v4.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true),
			s.v4.SetMulticastLoopback(true), s.v4.SetMulticastTTL(hopLimit))
	}
	if c, err := lc.ListenPacket(ctx, "udp6", "[::]:"+strconv.Itoa(port)); err != nil {
		errs = append(errs, err)
	} else {
		s.v6 = ipv6.NewPacketConn(c)
		for _, i := range interfaces {
			if err := s.v6.JoinGroup(&i, &net.UDPAddr{IP: group6}); err != nil {
				errs = append(errs, err)
				continue
			}
			s.joined6 = append(s.joined6, i.Index)
		}
		errs = append(errs, s.v6.SetControlMessage(ipv6.FlagInterface|ipv6.FlagDst, true),
			s.v6.SetMulticastLoopback(true), s.v6.SetMulticastHopLimit(hopLimit))
	}
	if len(s.joined4)+len(s.joined6) == 0 {
		s.close()
		return nil, fmt.Errorf("cannot use multicast DNS: %w", errors.Join(append(errs, errNoInterface)...))
	}
	return s, nil
}

var errNoInterface = errors.New("no network interface that can multicast")

// share allows several sockets on the port: a responder of the machine (avahi, systemd-resolved) has it as well.
func share(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	}); cerr != nil {
		return cerr
	}
	return err
}

func (s *socket) close() {
	if s.v4 != nil {
		_ = s.v4.Close()
	}
	if s.v6 != nil {
		_ = s.v6.Close()
	}
}

// send multicasts on every interface and family. Errors are ignored: interfaces come and go, and packets may get lost
// anyway.
func (s *socket) send(b []byte) {
	for _, i := range s.joined4 {
		s.sendVia(i, true, b)
	}
	for _, i := range s.joined6 {
		s.sendVia(i, false, b)
	}
}

// sendVia multicasts on one interface.
func (s *socket) sendVia(index int, four bool, b []byte) {
	if four {
		_, _ = s.v4.WriteTo(b, &ipv4.ControlMessage{IfIndex: index}, &net.UDPAddr{IP: group4, Port: s.port})
	} else {
		_, _ = s.v6.WriteTo(b, &ipv6.ControlMessage{IfIndex: index}, &net.UDPAddr{IP: group6, Port: s.port, Zone: s.interfaces[index].Name})
	}
}

// read gives every multicast packet of the interfaces to handle, until the socket is closed. handle may be called from
// two goroutines, and must not keep b.
func (s *socket) read(handle func(b []byte, from net.Interface, four bool)) {
	var wg sync.WaitGroup
	if s.v4 != nil {
		wg.Go(func() {
			buf := make([]byte, maxPacket)
			for {
				n, cm, _, err := s.v4.ReadFrom(buf)
				if err != nil {
					return
				}
				if cm != nil && cm.Dst.Equal(group4) {
					if i, ok := s.interfaces[cm.IfIndex]; ok {
						handle(buf[:n], i, true)
					}
				}
			}
		})
	}
	if s.v6 != nil {
		wg.Go(func() {
			buf := make([]byte, maxPacket)
			for {
				n, cm, _, err := s.v6.ReadFrom(buf)
				if err != nil {
					return
				}
				if cm != nil && cm.Dst.Equal(group6) {
					if i, ok := s.interfaces[cm.IfIndex]; ok {
						handle(buf[:n], i, false)
					}
				}
			}
		})
	}
	wg.Wait()
}

// addressesOf lists the addresses of an interface.
func addressesOf(i net.Interface) []netip.Addr {
	list, _ := i.Addrs() // an interface that has just disappeared has none
	var out []netip.Addr
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out
}
