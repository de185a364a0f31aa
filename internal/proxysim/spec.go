package proxysim

import (
	"fmt"
	"net"
	"strconv"
	"strings"

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

// ParseProxySpec reads the value of the simulate command's --proxy:
//
//	NAME=ADDR:PORT[,psk=BASE64][,slots=N][,features=HEX][,version=VERSION][,password=TEXT][,passive][,version=V][,password=P][,passive]
func ParseProxySpec(s string) (ProxySpec, error) {
	var spec ProxySpec
	fail := func(format string, args ...any) (ProxySpec, error) {
		return ProxySpec{}, fmt.Errorf("cannot parse proxy: "+format+
			"; want NAME=ADDR:PORT[,psk=BASE64][,slots=N][,features=HEX][,version=VERSION][,password=TEXT][,passive]", args...)
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
	for _, opt := range parts[1:] {
		key, value, _ := strings.Cut(opt, "=")
		switch key {
		case "psk":
			psk, err := apiwire.ParsePSK(value)
			if err != nil {
				return fail("%w", err)
			}
			spec.PSK = &psk
		case "slots":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > maxSlots {
				return fail("slots %q is not a number from 1 to %d", value, maxSlots)
			}
			spec.Slots = n
		case "features":
			n, err := strconv.ParseUint(strings.TrimPrefix(value, "0x"), 16, 32)
			if err != nil || n == 0 {
				return fail("features %q are not hexadecimal flags", value)
			}
			spec.Features = ble.Features(n)
		case "version":
			if _, err := parseFirmware(value); err != nil {
				return fail("%w", err)
			}
			spec.Version = value
		case "password":
			spec.Password = value
		case "passive":
			spec.Passive = true
		default:
			return fail("option %q is not known", key)
		}
	}
	return spec, nil
}
