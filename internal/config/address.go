package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// SplitAddress reads a proxy's address: a host name, an IPv4 or an IPv6 address, each with or without a port (IPv6 with
// a port in brackets). It gives the host without brackets, and the port or DefaultPort.
func SplitAddress(s string) (host string, port uint16, err error) {
	if ip, perr := netip.ParseAddr(s); perr == nil { // also an IPv6 address without brackets, with or without a zone
		return ip.String(), DefaultPort, nil
	}
	if scheme, rest, found := strings.Cut(s, "://"); found {
		rest, _, _ = strings.Cut(rest, "/")
		return "", 0, fmt.Errorf("cannot read address %q: leave out %q: %q", clip(s), clip(scheme+"://"), clip(rest))
	}
	host, port = s, DefaultPort
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	} else if strings.Contains(s, ":") {
		h, p, serr := net.SplitHostPort(s)
		if serr != nil {
			return "", 0, fmt.Errorf("cannot read address %q: IPv6 with a port is written [ADDRESS]:PORT", clip(s))
		}
		port, err = parsePort(p)
		if err != nil {
			return "", 0, fmt.Errorf("cannot read address %q: %w", clip(s), err)
		}
		host = h
	}
	if strings.HasPrefix(s, "[") {
		ip, perr := netip.ParseAddr(host)
		if perr != nil || !ip.Is6() {
			return "", 0, fmt.Errorf("cannot read address %q: brackets are for IPv6 addresses", clip(s))
		}
		return ip.String(), port, nil
	}
	if err := checkHost(host); err != nil {
		return "", 0, fmt.Errorf("cannot read address %q: %w", clip(s), err)
	}
	return host, port, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", clip(s))
	}
	return uint16(n), nil
}

// checkHost accepts what resolvers accept: labels of letters, digits, "-" and "_", an IPv4 address, and a final dot.
func checkHost(h string) error {
	if _, err := netip.ParseAddr(h); err == nil {
		return nil
	}
	name := strings.TrimSuffix(h, ".")
	if name == "" || len(name) > 253 {
		return errors.New("the host has no name, or one of more than 253 bytes")
	}
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 {
			return errors.New("the parts between the dots have 1 to 63 letters, digits or hyphens")
		}
		for _, c := range l {
			if c >= utf8.RuneSelf || !alphanumeric(byte(c)) && c != '-' && c != '_' {
				return fmt.Errorf("%q cannot be part of a host name", c)
			}
		}
	}
	if _, err := strconv.Atoi(labels[len(labels)-1]); err == nil {
		return errors.New("it ends like an IPv4 address but is none")
	}
	return nil
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// loopbackListen reads an address to listen on: HOST:PORT, or a port alone, which means loopback.
func loopbackListen(s string) (string, error) {
	if !strings.Contains(s, ":") {
		s = ":" + s
	}
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("%q is not HOST:PORT", clip(s))
	}
	if _, err := parsePort(p); err != nil {
		return "", err
	}
	if host == "" {
		host = "127.0.0.1"
	} else if err := checkListenHost(host); err != nil {
		return "", err
	}
	return net.JoinHostPort(host, p), nil
}

func checkListenHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	return checkHost(host)
}
