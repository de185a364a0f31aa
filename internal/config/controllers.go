package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// Controller is one virtual Bluetooth controller whose radio is the proxies. Exactly one of VHCI, PTY, Unix and TCP is
// set.
type Controller struct {
	// VHCI makes it a controller of this machine's kernel, hciN.
	VHCI bool
	// PTY is the absolute path of a symbolic link to a pseudo terminal, Unix that of a socket. TCP is HOST:PORT.
	PTY, Unix, TCP string
	// Proxies are the names of the proxies that it uses; empty means all.
	Proxies []string
	// Line is where the controller stands in the file, for messages.
	Line int
}

// key names the controller. No other controller of this configuration has the same key, and the key is the same in
// every run: its state is kept under it. n is how many {vhci: true} stand before it.
func (c Controller) key(n int) string {
	switch {
	case c.PTY != "":
		return "pty:" + c.PTY
	case c.Unix != "":
		return "unix:" + c.Unix
	case c.TCP != "":
		return "tcp:" + c.TCP
	case n == 0:
		return "vhci"
	}
	return "vhci:" + strconv.Itoa(n+1)
}

// ControllerKeys gives each controller of the configuration its key.
func (c *Config) ControllerKeys() []string {
	out := make([]string, len(c.HCI))
	n := 0
	for i, ctl := range c.HCI {
		out[i] = ctl.key(n)
		if ctl.VHCI {
			n++
		}
	}
	return out
}

// OfferVHCI adds a controller of this kernel, of all proxies, unless there is one already.
func (c *Config) OfferVHCI() {
	for _, ctl := range c.HCI {
		if ctl.VHCI {
			return
		}
	}
	c.HCI = append(c.HCI, Controller{VHCI: true})
}

// maxControllers bounds the list hci.
const maxControllers = 64

// controllers reads hci. It runs after the proxies are read.
func (l *loader) controllers(list []rawController, autoAdd bool) {
	rep := l.report
	if len(list) > maxControllers {
		rep.at("hci", "", "%d controllers are more than %d", len(list), maxControllers)
		return
	}
	seen := map[string]string{}
	name := l.proxyName(autoAdd)
	for i, r := range list {
		key := "hci[" + strconv.Itoa(i) + "]"
		if rep.broken[key] {
			continue
		}
		c := Controller{PTY: r.PTY, Unix: r.Unix, Proxies: r.Proxies, Line: rep.lines[key]}
		set := 0
		for _, v := range []string{r.VHCI, r.PTY, r.Unix, r.TCP} {
			if v != "" {
				set++
			}
		}
		if set != 1 {
			if set > 1 || !rep.meant[key+".vhci"] && !rep.meant[key+".pty"] && !rep.meant[key+".unix"] && !rep.meant[key+".tcp"] {
				rep.at(key, "write {vhci: true}, {pty: PATH}, {unix: PATH} or {tcp: HOST:PORT}", "a controller has exactly one place where its host meets it")
			}
			continue
		}
		if r.VHCI != "" {
			if r.VHCI != "true" {
				rep.at(key+".vhci", "write true, or remove the entry", "%q is not true", clip(r.VHCI))
			}
			c.VHCI = true
		}
		for k, path := range map[string]string{"pty": r.PTY, "unix": r.Unix} {
			if path == "" {
				continue
			}
			if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
				rep.at(key+"."+k, "begin it with /", "%q is not an absolute path", clip(path))
			} else if k == "unix" && len(path) > maxSocketPath {
				rep.at(key+".unix", "choose a shorter one", "the path has %d bytes, a socket's has %d at most", len(path), maxSocketPath)
			}
		}
		if r.TCP != "" {
			var err error
			c.TCP, err = loopbackListen(r.TCP)
			if err != nil {
				rep.at(key+".tcp", `"127.0.0.1:9555" is for this host only`, "%v", err)
			} else if !isLoopback(c.TCP) {
				l.out.Warnings = append(l.out.Warnings, fmt.Sprintf("%s: everybody who can reach %s can use the proxies' radios: HCI has neither password nor encryption", rep.where(key+".tcp"), c.TCP))
			}
		}
		for j, n := range r.Proxies {
			name(fmt.Sprintf("%s.proxies[%d]", key, j), n)
		}
		if k := c.key(0); !c.VHCI {
			if other, dup := seen[k]; dup {
				rep.at(key, "remove one of them", "the same place is already given at %s", rep.where(other))
			}
			seen[k] = key
		}
		l.out.HCI = append(l.out.HCI, c)
	}
}

// maxSocketPath is the longest path that fits the address of a socket (unix(7)) together with its final zero.
const maxSocketPath = 107

func isLoopback(hostPort string) bool {
	host, _, _ := net.SplitHostPort(hostPort)
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost"
}
