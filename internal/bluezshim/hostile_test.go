package bluezshim_test

import (
	"encoding/xml"
	"fmt"
	"strings"
	"testing"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links/linkstest"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"
)

// nasty is values of a type that no friend would send.
func nasty(typ string) []any {
	deep := dbus.MakeVariant(1)
	for range 30 {
		deep = dbus.MakeVariant(deep)
	}
	values := []dbus.Variant{
		dbus.MakeVariant(""), dbus.MakeVariant(strings.Repeat("x", 70000)), dbus.MakeVariant(byte(0)), dbus.MakeVariant(int16(-32768)),
		dbus.MakeVariant(uint16(65535)), dbus.MakeVariant(int64(-1)), dbus.MakeVariant([]string{}), dbus.MakeVariant([]byte{}),
		dbus.MakeVariant(dbus.ObjectPath("/")), dbus.MakeVariant(options{}), deep, dbus.MakeVariant(true), dbus.MakeVariant(1.5),
		dbus.MakeVariant([]any{}[:0:0]),
	}
	values = values[:len(values)-1]
	switch typ {
	case "s":
		return []any{"", "x", strings.Repeat("é", 5000), "org.bluez.Device1", "org.bluez.Adapter1", "Alias", "Powered", "RSSI", "\u202e"}
	case "o":
		return []any{dbus.ObjectPath("/"), dbus.ObjectPath("/org/bluez"), fullPath("hci0"), dbus.ObjectPath("/" + strings.Repeat("a/", 500) + "a")}
	case "ay":
		return []any{[]byte{}, make([]byte, 1), make([]byte, 512), make([]byte, 2000)}
	case "q":
		return []any{uint16(0), uint16(6), uint16(65535)}
	case "v":
		out := []any{}
		for _, v := range values {
			out = append(out, v)
		}
		return out
	case "a{sv}":
		out := []any{options{}}
		many := options{}
		for i, v := range values {
			many[fmt.Sprint("k", i)] = v
			for _, key := range []string{"offset", "type", "OFFSET", "UUIDs", "RSSI", "Pathloss", "Transport", "Pattern", "DuplicateData", "", "x"} {
				out = append(out, options{key: v})
			}
		}
		return append(out, many)
	}
	return nil
}

// TestHostileCalls calls every method of every object with nasty values of the right types: each call is answered, by
// whatever; nothing panics (the log would say so); the service goes on.
func TestHostileCalls(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	n := 0
	for _, kind := range []string{"Read", "ReadDescriptor", "Write", "WriteCommand", "WriteDescriptor", "Subscribe", "Pair", "Connect", "ClearCache", "SetConnectionParams"} {
		h.links.Auto(kind, func(op *linkstest.Op) {
			switch n++; n % 3 {
			case 0:
				op.End(ble.ATTError(byte(n)))
			case 1:
				op.Answer()
			default:
				op.Answer(make([]byte, n%600)...)
			}
		})
	}
	keep := map[string]bool{ // what would end the objects that are to be called
		"Disconnect": true, "RemoveDevice": true, "CancelPairing": true, "Set": true,
	}
	paths := []string{"/", "bluez", "hci0", "hci0/dev1", svc, charRW, charCmd, charNtf, charAll, charRel, charNone, descNtf, descUser}
	calls := 0
	for round := range 2 {
		for _, path := range paths {
			body, e := c.call(path, "DBus.Introspectable.Introspect")
			if e != "" {
				t.Fatalf("%s: %s", path, e)
			}
			var node introspect.Node
			if err := xml.Unmarshal([]byte(body[0].(string)), &node); err != nil {
				t.Fatal(err)
			}
			for _, i := range node.Interfaces {
				for _, m := range i.Methods {
					if keep[m.Name] != (round == 1) {
						continue
					}
					for _, args := range combine(m) {
						c.sendAs(m.Name, path, i.Name+"."+m.Name, args...)
						calls++
					}
				}
			}
			answers(t, c.lines())
		}
	}
	t.Logf("%d calls", calls)
	if calls < 1000 {
		t.Errorf("only %d calls were made", calls)
	}
	check(t, "Address", c.get("hci0", "Adapter1", "Address"), "02:00:00:00:00:00")
}

// combine makes argument lists: for each argument its nasty values in turn.
func combine(m introspect.Method) [][]any {
	var types []string
	for _, a := range m.Args {
		if a.Direction != "out" {
			types = append(types, a.Type)
		}
	}
	most := 1
	for _, typ := range types {
		most = max(most, len(nasty(typ)))
	}
	var out [][]any
	for k := range most {
		var args []any
		for i, typ := range types {
			values := nasty(typ)
			args = append(args, values[(k+i)%len(values)])
		}
		out = append(out, args)
	}
	return out
}

// answers checks that nothing was answered by an internal error.
func answers(t *testing.T, lines []string) {
	t.Helper()
	for _, l := range lines {
		if strings.Contains(l, "Internal error") {
			t.Errorf("%s", l)
		}
	}
}

// TestHostileDatabases: a database that contradicts itself breaks neither the device nor others.
func TestHostileDatabases(t *testing.T) {
	t.Parallel()
	for name, db := range map[string]*ble.Database{
		"the same service twice":        database(customService(), customService()),
		"the same characteristic twice": twice(),
		"no end":                        database(ble.Service{Handle: 0xffff, EndHandle: 0}),
		"handles of 0":                  database(ble.Service{Characteristics: []ble.Characteristic{{Descriptors: []ble.Descriptor{{}}}}}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, 1)
			c := h.client()
			h.connected(c, db)
			check(t, "ServicesResolved", c.get("hci0/dev1", "Device1", "ServicesResolved"), "true")
			h.shim.DatabaseChanged(dev1, database())
			h.shim.DatabaseChanged(dev1, db)
			h.shim.LinkDown(dev1, ble.DisconnectRemote)
			c.lines()
			c.send("hci0", "Adapter1.RemoveDevice", fullPath("hci0/dev1"))
			got := c.lines()
			check(t, "the last line", got[len(got)-1], "RemoveDevice: ok")
			_, e := c.call("hci0", "Properties.GetAll", "org.bluez.Adapter1")
			check(t, "GetAll", e, "")
		})
	}
}

func twice() *ble.Database {
	s := customService()
	s.Characteristics[2].Descriptors = append(s.Characteristics[2].Descriptors, s.Characteristics[2].Descriptors...)
	s.Characteristics = append(s.Characteristics, s.Characteristics...)
	return database(s)
}

func TestExtension(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.found(c)
	params := func(lo, hi, latency, timeout uint16) []any { return []any{lo, hi, latency, timeout} }
	for _, tt := range []struct {
		args []any
		want string
	}{
		{params(5, 6, 0, 100), invalidArguments}, {params(6, 5, 0, 100), invalidArguments}, {params(6, 3201, 0, 3200), invalidArguments},
		{params(6, 6, 500, 3200), invalidArguments}, {params(6, 6, 0, 9), invalidArguments}, {params(6, 6, 0, 3201), invalidArguments},
		{params(400, 400, 0, 100), invalidArguments}, {params(6, 6, 0, 100), "NotConnected: Not Connected"},
	} {
		_, e := c.call("hci0/dev1", "Extension.SetConnectionParams", tt.args...)
		check(t, fmt.Sprint(tt.args), e, tt.want)
	}
	h.connect(c, database())
	c.send("hci0/dev1", "Extension.SetConnectionParams", params(6, 12, 0, 100)...)
	op := h.links.Next(t, "SetConnectionParams [6 12 0 100]")
	c.send("hci0/dev1", "Extension.ClearCache") // one at a time
	c.want("ClearCache: " + inProgress)
	op.End(nil)
	c.await("SetConnectionParams: ok")
	for _, tt := range []struct {
		end  func(*linkstest.Op)
		want string
	}{
		{func(op *linkstest.Op) { op.Answer(1) }, "ok true"},
		{func(op *linkstest.Op) { op.Answer() }, "ok false"},
		{func(op *linkstest.Op) { op.End(ble.ErrNotConnected) }, "NotConnected: Not Connected"},
		{func(op *linkstest.Op) { op.End(ble.ErrNotSupported) }, "Failed: not supported by the proxy"},
	} {
		c.send("hci0/dev1", "Extension.ClearCache")
		tt.end(h.links.Next(t, "ClearCache"))
		c.await("ClearCache: " + tt.want)
	}
	h.air[0].SetSources(dev1, ble.Source{Proxy: "kitchen", RSSI: -50, LastHeard: h.clock.Now(), Interval: 1e9, Owner: true})
	check(t, "Sources", c.get("hci0/dev1", "Extension", "Sources"), "DBus.Error.InvalidArgs: No such interface 'org.bluez.Extension'")
	body, _ := c.call("hci0/dev1", "Properties.Get", "org.bluez_esphome.Device1", "Sources")
	got := body[0].(dbus.Variant).Value().([]map[string]dbus.Variant)
	check(t, "Sources", value(got[0]), "{IntervalMs:1000 LastHeard:1767225600 Owner:true RSSI:-50}")
	c.send("hci0/dev1", "Extension.ClearCache") // the end of the daemon calls it off
	op = h.links.Next(t, "ClearCache")
	h.do(h.shim.Close)
	<-op.Ctx.Done()
}

func TestNamesAreBounded(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	var batch []*ble.Report // each of which the loop takes at once
	for i := range 5000 {
		r := heard(0xC00000000000+ble.Address(i), plain("n"))
		if i%2 == 0 {
			r.Type, r.Address = ble.Random, 0x400000000000+ble.Address(i) // private: never remembered
		}
		batch = append(batch, r)
		if len(batch) == 250 {
			h.air[0].Report(t, batch...)
			batch = nil
		}
	}
	check(t, "names", h.shim.Names(), 2500)
	h.clock.Advance(31e9)
	c.lines()
	check(t, "peers", h.shim.Peers(), 0)
}

func TestAgentsAreBounded(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.do(h.shim.FillAgents)
	_, e := c.call("bluez", "AgentManager1.RegisterAgent", fullPath("/a"), "")
	check(t, "one too many", e, "Failed: Too many agents")
}

// TestEvictedDevices: an object goes with its record in the table, unless a link holds it.
func TestEvictedDevices(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database())
	c.send("hci0", "Adapter1.StartDiscovery")
	h.air[0].Report(t, heard(dev2, plain("Two")))
	c.lines()
	h.air[0].Report(t, &ble.Report{Address: dev1, Evicted: true}, &ble.Report{Address: dev2, Evicted: true}, &ble.Report{Address: dev2 + 1, Evicted: true})
	c.want("- hci0/dev2")
}
