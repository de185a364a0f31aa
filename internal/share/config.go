package share

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"net"
	"strings"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
)

// Config configures a Server.
type Config struct {
	// Self is what daemons behind this one know it by: Installation, a space, and the name of the host.
	Self     string
	Listen   string    // a host name or an IP address; must not be empty
	BasePort uint16    // the port of index 0
	PSK      *[32]byte // the Noise key that hosts need; nil: plaintext, or, of what is the original, its own key
	Names    string    // {name} stands for the proxy's
	// Installation is an address of this installation, so that two that share one proxy do not share it as the same
	// device.
	Installation ble.Address
	// Original: a shared proxy is the original device at another place, with its name and its addresses, and is not
	// announced. Otherwise it is a device beside it: name, MAC and the address of the radio are made up.
	Original bool
	// Links makes a host's hold on links. It must not be nil.
	Links func(host Host, events links.Events) links.Links
	// Index gives how far above BasePort the proxy with that MAC is served, always the same; false if there is none. It
	// must not be nil.
	Index func(mac ble.Address) (int, bool)
	// Announce tells the network of a shared proxy until ctx ends; nil: nobody is told. Without effect on loopback.
	Announce func(ctx context.Context, s Service)
	// ModeChanged: Proxy.WantsActive may have changed; proxy is empty for all proxies as one. It must not be nil and
	// not block.
	ModeChanged func(proxy string)
	Log         *slog.Logger // must not be nil
	// Wrap, if not nil, replaces each connection with a host; for measurements.
	Wrap func(net.Conn) net.Conn
}

// Host is another host that uses a shared proxy.
type Host struct {
	Name    string // as it calls itself, made printable
	Address string // its IP address
}

// Party names the host the same in each of its sessions: without the version in what it calls itself, which an update
// changes, and with its address, since a name alone is anybody's to take.
func (h Host) Party() string {
	name := h.Name
	// 2026.11.0b2, or, of a daemon, the name of a commit.
	if i := strings.LastIndexByte(name, ' '); i > 0 && (name[:i] == apiwire.ClientName || i+1 < len(name) && name[i+1] >= '0' && name[i+1] <= '9') {
		name = name[:i]
	}
	return "host " + strings.TrimRight(name, "0123456789. -") + " at " + h.Address
}

// Service is what multicast DNS says of a shared proxy: an instance of _esphomelib._tcp.
type Service struct {
	Name string // of the instance and of the host
	Port uint16
	IP   string // empty: all addresses of this host
	Text []string
}

// Info is what the real proxy says of itself.
type Info struct {
	ID                  string // tells it from the other real ones; Links take it for via
	Name                string // for people
	DeviceName          string // as it calls itself
	FriendlyName        string
	MAC, BluetoothMAC   string // AA:BB:CC:DD:EE:FF
	Version             string // of ESPHome
	Model, Manufacturer string
	ProjectName         string
	PSK                 *[32]byte // of the real proxy, for Config.Original; nil: none
	Said                []byte    // message 10 as it came; nil: unknown
	Via                 []string  // daemons through which it is reached, the nearest first
	Rest                Rest      // nil: there is nothing besides the proxy
	APIMinor            uint32
	Features            ble.Features
}

const (
	// maxName is the length of a device's name, in bytes (ESPHome).
	maxName = 31
	// minMinor is the API version from which on a device tells its features by flags; maxMinor is the one that is
	// spoken here.
	minMinor, maxMinor = 9, 19
)

// knownFeatures are those whose messages this program speaks.
const knownFeatures ble.Features = 0xff

// minor is the API version that a shared proxy speaks.
func (i Info) minor() uint32 { return min(max(i.APIMinor, minMinor), maxMinor) }

// nameOf makes a shared proxy's name: a label of DNS, since it is its host's name as well.
func nameOf(pattern, name string) string {
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
				return r
			case r >= 'A' && r <= 'Z':
				return r + 'a' - 'A'
			}
			return '-'
		}, s)
	}
	before, after, _ := strings.Cut(pattern, "{name}")
	before, after, name = clean(before), clean(after), clean(name)
	if over := len(before) + len(name) + len(after) - maxName; over > 0 {
		name = name[:max(0, len(name)-over)]
	}
	out := before + name + after
	return strings.Trim(out[:min(len(out), maxName)], "-")
}

// madeUp makes an address of eight letters that say what for, and two addresses: locally administered, for one device,
// and always the same.
func madeUp(purpose string, installation, mac ble.Address) ble.Address {
	var in [24]byte
	copy(in[:8], purpose)
	binary.BigEndian.PutUint64(in[8:], uint64(installation))
	binary.BigEndian.PutUint64(in[16:], uint64(mac))
	sum := sha256.Sum256(in[:])
	var b [8]byte
	copy(b[2:], sum[:6])
	b[2] = b[2]&^1 | 2
	return ble.Address(binary.BigEndian.Uint64(b[:]))
}

// device is what the shared proxy says of itself; mac is that of the original. Hosts tell devices by the one address
// and radios by the other: with one of the original's, a host that has both takes them for the same.
func (c *Config) device(i Info, mac ble.Address) apiserver.Device {
	d := apiserver.Device{
		Name: i.DeviceName, FriendlyName: i.FriendlyName, MAC: i.MAC, BluetoothMAC: i.BluetoothMAC,
		ESPHomeVersion: i.Version, Model: i.Model, Manufacturer: i.Manufacturer, ProjectName: i.ProjectName,
		Features: i.Features & knownFeatures, Said: i.Said, Via: append([]string{c.Self}, i.Via...),
	}
	if !c.Original {
		d.Name = nameOf(c.Names, i.Name)
		d.MAC, d.BluetoothMAC = madeUp("shared  ", c.Installation, mac).String(), madeUp("shared b", c.Installation, mac).String()
	}
	if d.FriendlyName == "" && i.Said == nil {
		d.FriendlyName = i.Name
	}
	return d
}

// text is the TXT record as devices have it.
func text(d apiserver.Device, encrypted bool) []string {
	t := []string{
		"friendly_name=" + d.FriendlyName, "version=" + d.ESPHomeVersion,
		"mac=" + strings.ToLower(strings.ReplaceAll(d.MAC, ":", "")),
		"platform=ESP32", "board=" + d.Model, "network=wifi",
	}
	if encrypted {
		t = append(t, "api_encryption=Noise_NNpsk0_25519_ChaChaPoly_SHA256")
	}
	return t
}
