package proxysim

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
)

// ProxySpec is a proxy and where it listens.
type ProxySpec struct {
	ProxyConfig
	// Listen is a TCP host:port; port 0 takes a free one. If it is empty, the proxy has no
	// listener and is reached by ServeConn.
	Listen string
}

// specForm is what ParseProxySpec reads.
const specForm = "NAME=ADDR:PORT[,OPTION]…"

// An option is one of those of a ProxySpec.
type option struct {
	name, value, help string // value is empty for one that stands alone
	set               func(c *ProxyConfig, value string) error
}

func options() []option {
	return []option{
		{"psk", "BASE64", "the key; without it the API is plaintext", func(c *ProxyConfig, v string) error {
			psk, err := apiwire.ParsePSK(v)
			c.PSK = &psk
			return err
		}},
		{"version", "VERSION", "ESPHome version, 2022.8 to " + DefaultVersion + " (the default)", func(c *ProxyConfig, v string) error {
			_, err := parseFirmware(v)
			c.Version = v
			return err
		}},
		{"profile", "PROFILE", "a board or a use, below", nil}, // applied before the others
		{"slots", "N", "connection slots, 1 to 9 (3)", func(c *ProxyConfig, v string) error {
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 || n > maxSlots {
				return fmt.Errorf("slots %q is not a number from 1 to %d", v, maxSlots)
			}
			c.Slots = n
			return nil
		}},
		{"features", "HEX", "feature flags instead of the version's", func(c *ProxyConfig, v string) error {
			n, err := strconv.ParseUint(strings.TrimPrefix(v, "0x"), 16, 32)
			if err != nil || n == 0 {
				return fmt.Errorf("features %q are not hexadecimal flags", v)
			}
			c.Features = ble.Features(n)
			return nil
		}},
		{"password", "TEXT", "API password, up to 2025.12", func(c *ProxyConfig, v string) error {
			c.Password = v
			return nil
		}},
		{"passive", "", "no connections (active: false)", func(c *ProxyConfig, _ string) error {
			c.Passive = true
			return nil
		}},
		{"keyless", "[WINDOW]", "waits for a client to set its key, for so long (5m) or for ever", func(c *ProxyConfig, v string) error {
			c.Unprovisioned = true
			if v == "" {
				return nil
			}
			d, err := time.ParseDuration(v)
			if err != nil || d <= 0 {
				return fmt.Errorf("keyless %q is not a time such as 5m", v)
			}
			c.ProvisioningWindow = d
			return nil
		}},
		{"sleep", "AWAKE/ASLEEP", "sleeps deeply, as 45s/90s", func(c *ProxyConfig, v string) error {
			awake, asleep, _ := strings.Cut(v, "/")
			a, err1 := time.ParseDuration(awake)
			b, err2 := time.ParseDuration(asleep)
			if err1 != nil || err2 != nil || a <= 0 || b <= 0 {
				return fmt.Errorf("sleep %q is not two times such as 45s/90s", v)
			}
			c.Sleep = Sleep{Awake: a, Asleep: b}
			return nil
		}},
		{"ethernet", "", "wired: advertisements leave every 100 ms in every version", func(c *ProxyConfig, _ string) error {
			c.Ethernet = true
			return nil
		}},
		{"friendly", "TEXT", "friendly name", func(c *ProxyConfig, v string) error {
			c.FriendlyName = v
			return nil
		}},
		{"area", "TEXT", "suggested area", func(c *ProxyConfig, v string) error {
			c.Area = v
			return nil
		}},
	}
}

// SpecHelp describes what ParseProxySpec reads, one option to a line.
func SpecHelp() string {
	var b strings.Builder
	for _, o := range options() {
		name := o.name
		if o.value != "" {
			name += "=" + o.value
		}
		fmt.Fprintf(&b, "  %-20s %s\n", strings.Replace(name, "=[WINDOW]", "[=WINDOW]", 1), o.help)
	}
	b.WriteString("\nProfiles:\n")
	for _, name := range profileNames() {
		fmt.Fprintf(&b, "  %-20s %s\n", name, profiles()[name].help)
	}
	return b.String()
}

// ParseProxySpec reads the value of the simulate command's --proxy, specForm with the options of SpecHelp.
func ParseProxySpec(s string) (ProxySpec, error) {
	var spec ProxySpec
	fail := func(format string, args ...any) (ProxySpec, error) {
		return ProxySpec{}, fmt.Errorf("cannot parse proxy: "+format+"; want "+specForm+" with options "+optionNames(), args...)
	}
	parts := strings.Split(s, ",")
	name, addr, ok := strings.Cut(parts[0], "=")
	if !ok || name == "" {
		return fail("%q does not begin with a name and an address", parts[0])
	}
	if len(name) > maxNodeName {
		return fail("name %q is longer than %d bytes", name, maxNodeName)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fail("address %q: %w", addr, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fail("port %q is not a number up to 65535", port)
	}
	spec.Name, spec.Listen = name, addr
	for _, profile := range []bool{true, false} { // it comes first, and gives way to every other option
		for _, opt := range parts[1:] {
			key, value, _ := strings.Cut(opt, "=")
			if (key == "profile") != profile {
				continue
			}
			if err := spec.set(key, value); err != nil {
				return fail("%w", err)
			}
		}
	}
	return spec, nil
}

// set applies one option.
func (c *ProxyConfig) set(key, value string) error {
	if key == "profile" {
		return c.setProfile(value)
	}
	for _, o := range options() {
		if o.name == key {
			return o.set(c, value)
		}
	}
	return fmt.Errorf("option %q is not known", key)
}

func optionNames() string {
	var names []string
	for _, o := range options() {
		names = append(names, o.name)
	}
	return strings.Join(names, ", ")
}
