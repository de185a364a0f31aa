package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"regexp"
	"strconv"
	"strings"

	"bluez-esphome/internal/ble"
)

// maxKeyFile bounds a key file, in bytes: 44 characters and a line feed are usual.
const maxKeyFile = 4096

func (l *loader) proxies(list []rawProxy) {
	rep := l.report
	names, hosts, macs := map[string]string{}, map[string]string{}, map[string]string{}
	once := func(seen map[string]string, what, value, key string) {
		if other, dup := seen[value]; dup {
			rep.at(key, "remove one of them", "the same %s is already given at %s", what, rep.where(other))
			return
		}
		seen[value] = key
	}
	for i, r := range list {
		key := "proxies[" + strconv.Itoa(i) + "]"
		if rep.broken[key] {
			continue
		}
		p := Proxy{Line: rep.lines[key], Name: r.Name, Password: NewPassword(r.Password)}
		var err error
		if r.Address == "" {
			if !rep.meant[key+".address"] { // else that is reported already
				rep.at(key+".address", "give host name or IP address", "is missing")
			}
		} else if p.Host, p.Port, err = SplitAddress(r.Address); err != nil {
			rep.at(key+".address", "write HOST, HOST:PORT, an IP address or [IPV6]:PORT", "%v", err)
		} else {
			host := strings.ToLower(strings.TrimSuffix(p.Host, "."))
			once(hosts, "address", net.JoinHostPort(host, strconv.Itoa(int(p.Port))), key+".address")
		}
		if r.Name != "" {
			if err := CheckName(r.Name); err != nil {
				rep.at(key+".name", "choose another", "%q %v", clip(r.Name), err)
			} else {
				once(names, "name", r.Name, key+".name")
			}
		}
		if r.MAC != "" {
			p.MAC, err = ble.ParseAddress(r.MAC)
			if err != nil {
				rep.at(key+".mac", "write it as AA:BB:CC:DD:EE:FF", "%q is not a MAC address", clip(r.MAC))
			} else {
				p.HasMAC = true
				once(macs, "mac", p.MAC.String(), key+".mac")
			}
		}
		p.NoisePSK = l.psk(key, r.NoisePSK, r.NoisePSKFile)
		l.inline = l.inline || r.Password != ""
		p.ScanMode = oneOf(rep, key+".scan_mode", r.ScanMode, ScanAuto, ScanActive, ScanPassive)
		p.OnConflict = oneOf(rep, key+".on_conflict", r.OnConflict, ConflictYield, ConflictRetake)
		p.OnNoSlot = oneOf(rep, key+".on_no_slot", r.OnNoSlot, NoSlotWait, NoSlotFail)
		p.HostsWait = r.OnNoSlot == string(NoSlotWait)
		l.out.Proxies = append(l.out.Proxies, p)
	}
}

// newKey says where to get a key that belongs to no single proxy.
const newKey = "make a new one: openssl rand -base64 32"

// psk reads the key of the group at prefix, from the file or from beside it.
func (l *loader) psk(prefix, inline, file string) Secret {
	key := prefix + ".noise_psk"
	remedy := "copy api: encryption: key: from the proxy's ESPHome configuration (base64 of 32 bytes, 44 characters)"
	if prefix == "share" {
		remedy = newKey
	}
	if inline != "" && file != "" {
		l.report.at(key+"_file", "remove one of them", "noise_psk is given too")
		return Secret{}
	}
	if inline != "" {
		s, err := ParseSecret(inline)
		if err != nil && l.isKeyFile(inline) {
			l.report.at(key, "write noise_psk_file: "+clip(inline), "this is a file, not a key")
		} else if err != nil {
			l.report.at(key, remedy, "the key %v", err)
		}
		l.inline = l.inline || l.report.env[key] == ""
		return s
	}
	if file == "" {
		return Secret{}
	}
	path := l.resolve(file)
	if _, err := l.fsys.Stat(path); err != nil && keyLike.MatchString(file) {
		l.report.at(key+"_file", "write noise_psk: in place of noise_psk_file:", "this is a key, not a file")
		return Secret{}
	}
	text, problem, fix := l.readKey(path)
	if problem != "" {
		l.report.at(key+"_file", fix, "cannot use %s: %s", clip(path), problem)
		return Secret{}
	}
	s, err := ParseSecret(text)
	if err != nil {
		l.report.at(key+"_file", remedy+", and put nothing else into the file", "the key in %s %v", clip(path), err)
	}
	return s
}

// keyLike matches what is a key, or was one before it was copied badly. It is not to be shown.
var keyLike = regexp.MustCompile(`^[A-Za-z0-9+/_-]{40,}=*$`)

// isKeyFile reports whether text in the place of a key names a file.
func (l *loader) isKeyFile(text string) bool {
	if keyLike.MatchString(text) {
		return false
	}
	info, err := l.fsys.Stat(l.resolve(text))
	return err == nil && info.Mode().IsRegular() || strings.HasSuffix(text, ".key")
}

// readKey reads a key file, or says what is wrong with it and what helps.
func (l *loader) readKey(path string) (text, problem, fix string) {
	info, err := l.fsys.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "no such file", "the path is relative to the configuration file; a bare name is also looked up among systemd's credentials, which are read when the unit starts"
	case err != nil:
		return "", reason(err).Error(), ""
	case !info.Mode().IsRegular():
		return "", "not a regular file", ""
	case info.Size() > maxKeyFile:
		return "", fmt.Sprintf("%d bytes are more than a key has", info.Size()), ""
	case info.Mode().Perm()&0o006 != 0:
		return "", fmt.Sprintf("everybody may read or write it (mode %04o)", info.Mode().Perm()), "chmod 0600 it"
	}
	b, err := l.fsys.ReadFile(path)
	if err != nil {
		return "", reason(err).Error(), "let the user that runs the daemon read it"
	}
	return strings.TrimSpace(string(b)), "", ""
}

// reason is an error of the operating system without the path, which the message has already.
func reason(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// proxyName checks names of proxies that stand at a key.
func (l *loader) proxyName(autoAdd bool) func(key, name string) {
	rep := l.report
	var known []string
	if !autoAdd {
		known = l.knownNames()
	}
	return func(key, n string) {
		if n == "" {
			rep.at(key, "give a proxy's name", "is empty")
		} else if known != nil {
			if best, d := nearest(n, known); d > 0 {
				remedy := "the proxies are named " + strings.Join(known, ", ")
				if d <= len(n)/2 {
					remedy = fmt.Sprintf("the nearest name is %q", best)
				}
				rep.at(key, remedy, "no proxy is named %q", clip(n))
			}
		} else if !l.meant(n) {
			l.out.Warnings = append(l.out.Warnings, l.unmeant(rep.where(key), n, autoAdd))
		}
	}
}

func (l *loader) devices(list []rawDevice, autoAdd bool) {
	rep := l.report
	seen := map[ble.Address]string{}
	name := l.proxyName(autoAdd)
	for i, r := range list {
		key := "devices[" + strconv.Itoa(i) + "]"
		if rep.broken[key] {
			continue
		}
		a, err := ble.ParseAddress(r.Address)
		if err != nil {
			rep.at(key+".address", `write it as "AA:BB:CC:DD:EE:FF"`, "%q is not a Bluetooth address", clip(r.Address))
		} else if other, dup := seen[a]; dup {
			rep.at(key+".address", "put everything about it there", "%v is already given at %s", a, rep.where(other))
		} else {
			seen[a] = key + ".address"
		}
		if r.Pin != "" {
			name(key+".pin", r.Pin)
			if len(r.Prefer)+len(r.Deny) > 0 {
				rep.at(key+".pin", "remove pin, or the others", "prefer and deny mean nothing beside pin")
			}
		}
		for j, n := range r.Prefer {
			name(fmt.Sprintf("%s.prefer[%d]", key, j), n)
		}
		for j, n := range r.Deny {
			name(fmt.Sprintf("%s.deny[%d]", key, j), n)
		}
		l.out.Devices = append(l.out.Devices, Device{Address: a, Pin: r.Pin, Prefer: r.Prefer, Deny: r.Deny})
	}
}

// meant reports whether a name stands for an entry of proxies: by its name, or without one by the first label of its
// host.
func (l *loader) meant(name string) bool {
	for _, p := range l.out.Proxies {
		label, _, _ := strings.Cut(p.Host, ".")
		if p.Name == name || p.Name == "" && net.ParseIP(p.Host) == nil && strings.EqualFold(label, name) {
			return true
		}
	}
	return false
}

// unmeant is the warning of a rule that names no entry.
func (l *loader) unmeant(where, name string, autoAdd bool) string {
	nameless := false
	for _, p := range l.out.Proxies {
		nameless = nameless || p.Name == ""
	}
	w := fmt.Sprintf("%s: no entry of proxies is named %q", where, clip(name))
	if nameless {
		return w + ": the rule counts only if the device of an entry without name calls itself so; give that entry this name"
	}
	if autoAdd {
		return w + ": the rule means nobody, since a proxy that auto_add finds may claim any name; list the proxy with this name"
	}
	return w + ": the rule means nobody"
}

// knownNames are the proxies' names if the configuration decides them all, else nil: a proxy without
// one is named by itself.
func (l *loader) knownNames() []string {
	var out []string
	for _, p := range l.out.Proxies {
		if p.Name == "" {
			return nil
		}
		out = append(out, p.Name)
	}
	return out
}
