package bluezshim_test

import (
	"strings"
	"syscall"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"

	"github.com/godbus/dbus/v5"
)

// fuzzProgram makes messages of the bytes of a fuzz target.
type fuzzProgram struct {
	*fuzzHome
	*fuzzWorld
	in  []byte
	fds []int
}

func (p *fuzzProgram) next() byte {
	if len(p.in) == 0 {
		return 0
	}
	b := p.in[0]
	p.in = p.in[1:]
	return b
}

func pick[T any](p *fuzzProgram, list []T) T { return list[int(p.next())%len(list)] }

// fuzzTypes is what random signatures are made of.
var fuzzTypes = []string{
	"y", "b", "n", "q", "i", "u", "x", "t", "d", "s", "o", "g", "v", "h", "ay", "as", "ao", "av", "a{sv}", "a{oa{sa{sv}}}", "a{tv}", "(sv)", "ah", "a{sh}",
	"a(yyay)", "aay", "((y)(v))", "a{ys}", "aaaaaav", "(h)", "a{sa{sv}}",
}

// step does one thing.
func (p *fuzzProgram) step() {
	switch op := p.next() % 16; op {
	case 0, 1, 2, 3, 4, 5:
		i := int(p.next())
		i += int(p.next()) << 8
		m := p.members[i%len(p.members)]
		sig := m.in
		switch {
		case m.property:
			p.property(m, op)
			return
		case op == 1: // other arguments
			sig = ""
			for range p.next() % 4 {
				sig += pick(p, fuzzTypes)
			}
		case op == 2: // bytes that do not follow the signature
			p.call(pick(p, fuzzClients[:3]), m.path, m.iface, m.name, sig, p.junk(), nil, "?", 0)
			return
		}
		body, fds := p.body(sig)
		want := m.out
		if sig != m.in {
			want = "?"
		}
		p.call(pick(p, fuzzClients[:3]), m.path, m.iface, m.name, sig, body, fds, want, p.next()&1)
		closeAll(fds)
	case 6: // what does not exist
		sig := pick(p, fuzzTypes)
		body, fds := p.body(sig)
		p.call(pick(p, fuzzClients), pick(p, p.paths)+pick(p, []dbus.ObjectPath{"", "/x", "/dev_00"}), pick(p, fuzzStrings), "No"+pick(p, []string{"", "Such"}), sig, body, fds, "?", 0)
		closeAll(fds)
	case 7: // a monitor's signals, or other ones
		p.signal("a{sa{sv}}", "InterfacesAdded")
	case 8:
		p.signal("as", "InterfacesRemoved")
	case 9:
		p.leaves(pick(p, fuzzClients))
	case 10:
		p.shim.Notified(dev1, uint16(p.next()), p.take())
	case 11:
		p.shim.LinkDown(dev1, ble.DisconnectRemote)
	case 12:
		p.shim.LinkUp(dev1, int(p.next()))
		p.shim.Resolved(dev1, database(customService(), gapService()), 23+int(p.next()))
	case 13:
		p.shim.DatabaseChanged(dev1, database(ble.Service{Handle: uint16(p.next()), EndHandle: uint16(p.next())}, batteryService()))
	case 14:
		adv := ble.ParseAdvertisement(p.take())
		p.air.Report(p.t, heard(dev1+ble.Address(p.next()%4), *adv))
	case 15: // an answer that nobody asked for, or only just
		sig := pick(p, fuzzTypes)
		body, fds := p.body(sig)
		p.send(2+p.next()&1, 1, map[byte]any{4: "org.example.Error.X", 5: uint32(p.next()), 6: "org.bluez", 7: pick(p, fuzzClients[:3]), 8: dbus.ParseSignatureMust(sig)}, body, fds, "")
		closeAll(fds)
	}
}

// property gets or sets a property, mostly with the right type.
func (p *fuzzProgram) property(m member, op byte) {
	const properties = "org.freedesktop.DBus.Properties"
	if op == 0 {
		p.call(pick(p, fuzzClients[:3]), m.path, properties, "Get", "ss", encode("ss", func(e *dbusobj.Encoder) { e.String(m.iface); e.String(m.name) }), nil, "v", 0)
		return
	}
	sig := m.in
	if op == 1 || !m.writes {
		sig = pick(p, fuzzTypes)
	}
	p.fds = nil
	body, fds, err := dbusobj.Marshal("ssv", func(e *dbusobj.Encoder) {
		e.String(m.iface)
		e.String(m.name)
		e.Variant(sig, func() { p.write(e, sig, 0) })
	})
	if err != nil {
		panic(err)
	}
	p.call(pick(p, fuzzClients[:3]), m.path, properties, "Set", "ssv", body, fds, "", 0)
	closeAll(fds)
}

// signal sends what a monitor application might.
func (p *fuzzProgram) signal(second, name string) {
	sig := "o" + second
	if p.next()%4 == 0 {
		sig = pick(p, fuzzTypes)
	}
	body, fds := p.body(sig)
	p.send(4, 1, map[byte]any{
		1: pick(p, p.paths), 2: "org.freedesktop.DBus.ObjectManager", 3: name, 7: pick(p, fuzzClients[:3]), 8: dbus.ParseSignatureMust(sig),
	}, body, fds, "")
	closeAll(fds)
}

// answer answers what the shim calls: with what it wants, something else, an error, or not at all.
func (p *fuzzProgram) answer(*dbus.Message) (string, []byte, bool) {
	sig := "a{oa{sa{sv}}}"
	switch p.next() % 8 {
	case 0:
		return "", nil, false
	case 1:
		return "", nil, true
	case 2:
		sig = pick(p, fuzzTypes[:13])
	case 3:
		return sig, p.junk(), true
	}
	if strings.Contains(sig, "h") {
		sig = "s"
	}
	body, fds := p.body(sig)
	closeAll(fds)
	return sig, body, true
}

func (p *fuzzProgram) take() []byte {
	n := min(int(p.next()), len(p.in))
	b := p.in[:n:n]
	p.in = p.in[n:]
	return b
}

func (p *fuzzProgram) junk() []byte { return append([]byte{}, p.take()...) }

// body encodes values of a signature.
func (p *fuzzProgram) body(sig string) ([]byte, []int) {
	body, fds, err := dbusobj.Marshal(sig, func(e *dbusobj.Encoder) { p.writeAll(e, sig, 0) })
	if err != nil {
		panic(err)
	}
	return body, fds
}

func (p *fuzzProgram) writeAll(e *dbusobj.Encoder, sig string, depth int) {
	for sig != "" {
		n := typeLen(sig)
		p.write(e, sig[:n], depth)
		sig = sig[n:]
	}
}

// typeLen is the length of the first complete type of a valid signature.
func typeLen(sig string) int {
	switch sig[0] {
	case 'a':
		return 1 + typeLen(sig[1:])
	case '(', '{':
		open := 0
		for i := range len(sig) {
			switch sig[i] {
			case '(', '{':
				open++
			case ')', '}':
				open--
				if open == 0 {
					return i + 1
				}
			}
		}
	}
	return 1
}

// fuzzStrings are what methods look for, and what nobody does.
var fuzzStrings = []string{
	"", "offset", "type", "request", "command", "reliable", "UUIDs", "RSSI", "Pathloss", "Transport", "le", "bredr", "auto", "DuplicateData", "Discoverable",
	"Pattern", "AutoConnect", "or_patterns", "Type", "Patterns", "RSSILowThreshold", "RSSIHighThreshold", "RSSILowTimeout", "RSSIHighTimeout", "RSSISamplingPeriod",
	"org.bluez.AdvertisementMonitor1", "org.bluez.Adapter1", "org.bluez.Device1", "org.bluez.GattCharacteristic1", "org.bluez.GattDescriptor1", "Alias", "Powered",
	"Trusted", "Blocked", "Discoverable", "Value", "0000180f-0000-1000-8000-00805f9b34fb", "180f", "AA:BB:CC:DD:EE:01", "DisplayYesNo", "KeyboardDisplay", "device",
	"org.bluez.Error.Failed", "\x1b[2J\n\r\u202e", "link", "mtu", strings.Repeat("é", 400), "/", "x",
}

func (p *fuzzProgram) write(e *dbusobj.Encoder, sig string, depth int) {
	switch sig[0] {
	case 'y':
		e.Byte(p.next())
	case 'b':
		e.Bool(p.next()&1 != 0)
	case 'n':
		e.Int16(int16(p.next())<<uint(p.next()%9) - 128)
	case 'q':
		e.Uint16(uint16(p.next()) << uint(p.next()%9))
	case 'i':
		e.Int32(int32(p.next())<<uint(p.next()%25) - 128)
	case 'u':
		e.Uint32(uint32(p.next()) << uint(p.next()%25))
	case 'x':
		e.Int64(int64(p.next())<<uint(p.next()%57) - 128)
	case 't':
		e.Uint64(uint64(p.next()) << uint(p.next()%57))
	case 'd':
		e.Double(float64(p.next()) - 1e3)
	case 's':
		if n := p.next(); int(n) < 2*len(fuzzStrings) {
			e.String(fuzzStrings[int(n)%len(fuzzStrings)])
		} else {
			e.String(string(p.take()))
		}
	case 'o':
		e.ObjectPath(pick(p, p.paths) + pick(p, []dbus.ObjectPath{"", "", "", "_x"}))
	case 'g':
		e.Signature(pick(p, fuzzTypes))
	case 'h':
		fd, err := syscall.Dup(int(p.null.Fd()))
		if err != nil || depth > 20 {
			panic("no descriptor")
		}
		e.FD(fd)
	case 'v':
		inner := "y"
		if depth < 12 {
			inner = pick(p, fuzzTypes)
		}
		e.Variant(inner, func() { p.write(e, inner, depth+1) })
	case 'a':
		n := int(p.next())
		if sig[1:] == "y" {
			e.Bytes(make([]byte, n*int(1+p.next()%8)))
			return
		}
		e.Array(sig[1:], func() {
			for range n % (5 - min(depth, 4)) {
				p.write(e, sig[1:], depth+1)
			}
		})
	case '(':
		e.Struct(func() { p.writeAll(e, sig[1:len(sig)-1], depth) })
	case '{':
		e.Entry(func() { p.writeAll(e, sig[1:len(sig)-1], depth) })
	}
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = syscall.Close(fd)
	}
}
