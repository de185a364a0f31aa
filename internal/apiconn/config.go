package apiconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
)

// DefaultPort is the native API's TCP port.
const DefaultPort = 6053

// ScanMode says who decides between passive and active scanning.
type ScanMode uint8

// Scan modes: with ScanAuto the proxy keeps its own until SetScannerMode; the
// others hold it to one mode.
const (
	ScanAuto ScanMode = iota
	ScanActive
	ScanPassive
)

// OnConflict says what to do when another API client uses the proxy.
type OnConflict uint8

// Conflict policies. A proxy serves one subscriber only.
const (
	Yield  OnConflict = iota // leave the proxy to it and ask again slowly
	Retake                   // take the subscription
)

// Config describes one proxy. Handler must not be nil; zero values of the others have the
// meaning that is given.
type Config struct {
	Name       string // unique; "" is the proxy's own name, once it is known
	Address    string // host, host:port, IPv4, [IPv6]:port; see SplitAddress
	PSK        *[32]byte
	Password   string // for firmware up to 2025; never logged
	ExpectName string // "" accepts any node name
	ExpectMAC  string // 12 hexadecimal digits, with or without separators; "" accepts any
	ClientInfo string // shows in the proxy's log, at most 31 bytes; "" is bluez-esphome

	PingAfter time.Duration // silence before a ping; 0 is 10 s
	DeadAfter time.Duration // silence that ends the session; 0 is 20 s

	ScanMode   ScanMode
	OnConflict OnConflict
	Logger     *slog.Logger // nil discards
	Handler    Handler

	// Changed, if not nil, is called when State or LastError may have changed, from any goroutine. It must
	// not block.
	Changed func()
	// Admit, if not nil, is asked once a session knows its device and before it uses anything of it. An error, such as a
	// *RefusedError, ends the session. It is called in the goroutine of the Handler and must not block.
	Admit func(info Info) error
	// Previous, if not nil, collects the proxies that may have been taken from another host into one warning, see
	// [Previous].
	Previous *Previous
	// Pace, if not nil, is called before each attempt to connect, which begins when it returns; see Pacer.
	Pace func(ctx context.Context) error

	// Dial replaces net.Dialer's DialContext if not nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Resolve looks a host name up, anew for each attempt; nil is the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Info is what a session learnt about its proxy. The strings come from the proxy and are not trusted.
type Info struct {
	Name, FriendlyName      string
	MAC                     string // of Wi-Fi or Ethernet, AA:BB:CC:DD:EE:FF
	BluetoothMAC            string // the adapter's address; derived from MAC if the proxy does not tell it
	Version                 string // of ESPHome, like 2026.10.0
	Model, Manufacturer     string
	ProjectName             string
	ServerInfo              string // name and version of the device's program; real devices say ESPHome
	APIMajor, APIMinor      uint32
	Features                ble.Features
	DeepSleep               bool
	Encrypted               bool // this session
	EncryptionSupported     bool
	EncryptionProvisionable bool     // the device accepts a key from a client
	Said                    []byte   // message 10 as it came; not modified
	Via                     []string // daemons that the device comes through, see apiwire.Via
}

// Shared reports whether a daemon shares the device: then several hosts use it at once, and what its slots are taken for
// says nothing of whose it is.
func (i *Info) Shared() bool { return len(i.Via) > 0 }

// Handler receives what a proxy says. All calls come from one goroutine, in wire
// order, and must not block: nothing of the proxy is read meanwhile.
type Handler interface {
	Online(p *Proxy, info Info)
	// Offline ends what Online began; err says why (ErrStopped after Stop). Every link is gone.
	Offline(p *Proxy, err error)
	// Adverts passes a batch received at that time. The slice and all Data are only valid
	// during the call.
	Adverts(p *Proxy, at time.Time, adverts []ble.RawAdvert)
	ScannerState(p *Proxy, state ble.ScannerState, mode, configured ble.ScannerMode)
	Slots(p *Proxy, slots ble.Slots)
	// LinkUp and LinkDown pass every message 69, whoever asked for it. The code is an HCI or GATT
	// code, 0 without a reason.
	LinkUp(p *Proxy, a ble.Address, mtu int)
	LinkDown(p *Proxy, a ble.Address, code int32)
	// Notification passes a notification or indication; value may be kept.
	Notification(p *Proxy, a ble.Address, handle uint16, value []byte)
	// PairingChanged passes a message 85 that answers no call of ours.
	PairingChanged(p *Proxy, a ble.Address, paired bool, code int32)
}

// SplitAddress splits the address of a proxy into host and port; without a
// port it is DefaultPort. An IPv6 address with a port is in brackets.
func SplitAddress(s string) (host string, port uint16, err error) {
	bad := func(why string) (string, uint16, error) {
		return "", 0, fmt.Errorf("cannot use proxy address %q: %s", s, why)
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return s, DefaultPort, nil
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		if _, err := netip.ParseAddr(s[1 : len(s)-1]); err != nil {
			return bad("not an IPv6 address in the brackets")
		}
		return s[1 : len(s)-1], DefaultPort, nil
	}
	host, portText := s, ""
	if strings.Contains(s, ":") {
		host, portText, err = net.SplitHostPort(s)
		if err != nil {
			return bad("want host, host:port, an IP address or [IPv6]:port")
		}
		n, err := strconv.ParseUint(portText, 10, 16)
		if err != nil || n == 0 {
			return bad("the port is not a number from 1 to 65535")
		}
		port = uint16(n)
	} else {
		port = DefaultPort
	}
	if host == "" || strings.ContainsAny(host, " /\t") {
		return bad("no host name")
	}
	return host, port, nil
}

// normalMAC strips separators and lowers the case.
func normalMAC(s string) string {
	return strings.ToLower(strings.NewReplacer(":", "", "-", "", ".", "").Replace(s))
}

func (c *Config) setDefaults() error {
	if c.Handler == nil {
		return errors.New("cannot make a proxy: no Handler")
	}
	if c.ClientInfo == "" {
		c.ClientInfo = apiwire.ClientName
	}
	if c.PingAfter <= 0 {
		c.PingAfter = 10 * time.Second
	}
	if c.DeadAfter <= 0 {
		c.DeadAfter = 20 * time.Second
	}
	c.DeadAfter = max(c.DeadAfter, c.PingAfter)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.Resolve == nil {
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	return nil
}
