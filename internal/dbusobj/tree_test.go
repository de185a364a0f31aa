package dbusobj

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

func contains(s, sub string) bool { return strings.Contains(s, sub) }

func dup(f *os.File) (int, error) { return syscall.Dup(int(f.Fd())) }

const (
	added    = "/ org.freedesktop.DBus.ObjectManager.InterfacesAdded "
	removed  = "/ org.freedesktop.DBus.ObjectManager.InterfacesRemoved "
	changed  = "org.freedesktop.DBus.Properties.PropertiesChanged "
	mainName = "org.example.Main1"
)

func TestErrorsAreThoseOfGdbus(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := client(t, s.addr)
	s.do(func() { s.Add("/o/x", &thing{name: "n"}, ifaceMain()) })
	const (
		props = "org.freedesktop.DBus.Properties."
		fd    = "org.freedesktop.DBus.Error."
	)
	unknown := func(member, sig, iface string) string {
		return fmt.Sprintf("Method \"%s\" with signature \"%s\" on interface \"%s\" doesn't exist\n", member, sig, iface)
	}
	v := func(x any) dbus.Variant { return dbus.MakeVariant(x) }
	for _, tt := range []struct {
		name          string
		path          dbus.ObjectPath
		method        string
		args          []any
		errName, text string
	}{
		{"unknown path", "/nowhere", mainName + ".Echo", nil, fd + "UnknownObject", unknown("Echo", "", mainName)},
		{"path below an object", "/o/x/y", mainName + ".Echo", []any{"x"}, fd + "UnknownObject", unknown("Echo", "s", mainName)},
		{"unknown path, GetAll", "/nowhere", props + "GetAll", []any{mainName}, fd + "UnknownObject", unknown("GetAll", "s", "org.freedesktop.DBus.Properties")},
		{"path above an object", "/o", mainName + ".Echo", nil, fd + "UnknownMethod", unknown("Echo", "", mainName)},
		{"root", "/", mainName + ".Echo", nil, fd + "UnknownMethod", unknown("Echo", "", mainName)},
		{"unknown interface", "/o/x", "org.example.Nonsense1.Foo", nil, fd + "UnknownMethod", unknown("Foo", "", "org.example.Nonsense1")},
		{"unknown method", "/o/x", mainName + ".Foo", nil, fd + "UnknownMethod", unknown("Foo", "", mainName)},
		{"surplus argument", "/o/x", mainName + ".Hold", []any{"x"}, fd + "UnknownMethod", unknown("Hold", "s", mainName)},
		{"missing argument", "/o/x", mainName + ".Echo", nil, fd + "UnknownMethod", unknown("Echo", "", mainName)},
		{"argument of other type", "/o/x", mainName + ".Echo", []any{uint32(1)}, fd + "UnknownMethod", unknown("Echo", "u", mainName)},
		{"object manager method", "/", "org.freedesktop.DBus.ObjectManager.NoSuchMember", nil, fd + "UnknownMethod", unknown("NoSuchMember", "", "org.freedesktop.DBus.ObjectManager")},
		{"object manager elsewhere", "/o/x", "org.freedesktop.DBus.ObjectManager.GetManagedObjects", nil, fd + "UnknownMethod", unknown("GetManagedObjects", "", "org.freedesktop.DBus.ObjectManager")},
		{"properties of root", "/", props + "GetAll", []any{"org.freedesktop.DBus.ObjectManager"}, fd + "UnknownMethod", unknown("GetAll", "s", "org.freedesktop.DBus.Properties")},
		{"get, wrong signature", "/o/x", props + "Get", []any{mainName}, fd + "UnknownMethod", unknown("Get", "s", "org.freedesktop.DBus.Properties")},
		{"get, unknown property", "/o/x", props + "Get", []any{mainName, "Nonsense"}, fd + "InvalidArgs", "No such property 'Nonsense'"},
		{"get, absent property", "/o/x", props + "Get", []any{mainName, "Maybe"}, fd + "InvalidArgs", "No such property 'Maybe'"},
		{"get, unknown interface", "/o/x", props + "Get", []any{"a.b", "Name"}, fd + "InvalidArgs", "No such interface 'a.b'"},
		{"get, empty interface", "/o/x", props + "Get", []any{"", "Name"}, fd + "InvalidArgs", "No such interface ''"},
		{"get all, unknown interface", "/o/x", props + "GetAll", []any{"a.b"}, fd + "InvalidArgs", "No such interface 'a.b'"},
		{"get all, empty interface", "/o/x", props + "GetAll", []any{""}, fd + "InvalidArgs", "No such interface ''"},
		{"set, unknown interface", "/o/x", props + "Set", []any{"a.b", "Name", v("x")}, fd + "InvalidArgs", "No such interface 'a.b'"},
		{"set, unknown property", "/o/x", props + "Set", []any{mainName, "Nonsense", v(true)}, fd + "UnknownProperty", "No such property 'Nonsense'"},
		{"set, absent property", "/o/x", props + "Set", []any{mainName, "Maybe", v("x")}, fd + "UnknownProperty", "No such property 'Maybe'"},
		{"set, read-only", "/o/x", props + "Set", []any{mainName, "Name", v("x")}, fd + "PropertyReadOnly", "Property 'Name' is not writable"},
		{"set, read-only and other type", "/o/x", props + "Set", []any{mainName, "Name", v(true)}, fd + "PropertyReadOnly", "Property 'Name' is not writable"},
		{"set, other type", "/o/x", props + "Set", []any{mainName, "Number", v("x")}, fd + "InvalidSignature", "Invalid signature for 'Number'"},
		{"panic", "/o/x", mainName + ".Panic", nil, fd + "Failed", "Internal error"},
		{"wrong reply", "/o/x", mainName + ".Wrong", nil, fd + "Failed", "Internal error"},
		{"own error", "/o/x", mainName + ".Fail", nil, "org.example.Error.Sad", "so sad\uFFFD"},
		{"own error, bad name", "/o/x", mainName + ".BadError", nil, fd + "Failed", "x"},
		{"peer", "/nowhere", "org.freedesktop.DBus.Peer.Bogus", nil, fd + "UnknownMethod", "Unknown method invoked on org.freedesktop.DBus.Peer interface"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := c.Object(testName, tt.path).Call(tt.method, 0, tt.args...).Err
			var e dbus.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want %s", err, tt.errName)
			}
			if e.Name != tt.errName || len(e.Body) != 1 || e.Body[0] != tt.text {
				t.Errorf("got %s %q, want %s %q", e.Name, e.Body, tt.errName, tt.text)
			}
		})
	}
	if log := s.log.String(); !contains(log, "as asked") || !contains(log, "helpers_test.go") {
		t.Errorf("the panic is not logged with its stack: %s", log)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := client(t, s.addr)
	s.do(func() { s.Add("/o", &thing{name: "n", number: 3}, ifaceMain(), ifaceExtra()) })
	const props = "org.freedesktop.DBus.Properties."
	all := map[string]dbus.Variant{
		"Number": dbus.MakeVariant(uint32(3)), "Name": dbus.MakeVariant("n"), "Late": dbus.MakeVariant([]string{"a", "b"}),
	}
	empty := map[string]dbus.Variant{}
	for _, tt := range []struct {
		name   string
		path   dbus.ObjectPath
		method string
		args   []any
		want   []any
	}{
		{"echo", "/o", mainName + ".Echo", []any{"ä"}, []any{"ä"}},
		{"answered twice", "/o", mainName + ".Twice", nil, nil},
		{"get", "/o", props + "Get", []any{mainName, "Number"}, []any{dbus.MakeVariant(uint32(3))}},
		{"get all", "/o", props + "GetAll", []any{mainName}, []any{all}},
		{"get all of Introspectable", "/o", props + "GetAll", []any{introspectableName}, []any{empty}},
		{"get all of Properties", "/o", props + "GetAll", []any{propertiesName}, []any{empty}},
		{"ping", "/o", "org.freedesktop.DBus.Peer.Ping", nil, nil},
		{"ping nowhere", "/nowhere", "org.freedesktop.DBus.Peer.Ping", nil, nil},
		{"machine id", "/nowhere", "org.freedesktop.DBus.Peer.GetMachineId", nil, []any{machineID()}},
		{"objects", "/", "org.freedesktop.DBus.ObjectManager.GetManagedObjects", nil, []any{map[dbus.ObjectPath]map[string]map[string]dbus.Variant{
			"/o": {introspectableName: empty, mainName: all, propertiesName: empty, "org.example.Extra1": empty},
		}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			call := c.Object(testName, tt.path).Call(tt.method, 0, tt.args...)
			if call.Err != nil {
				t.Fatal(call.Err)
			}
			if d := cmp.Diff(tt.want, call.Body, variants); d != "" && len(tt.want)+len(call.Body) > 0 {
				t.Error(d)
			}
		})
	}
	t.Run("set", func(t *testing.T) {
		ch := signals(t, c)
		o := c.Object(testName, "/o")
		if err := o.SetProperty(mainName+".Number", dbus.MakeVariant(uint32(8))); err != nil {
			t.Fatal(err)
		}
		expect(t, ch, "/o "+changed+"[org.example.Main1 map[Number:@u 8] []]")
	})
	t.Run("set later", func(t *testing.T) {
		call := c.Object(testName, "/o").Go(props+"Set", 0, nil, mainName, "Late", dbus.MakeVariant([]string{"q"}))
		if err := c.Object(testName, "/").Call("org.freedesktop.DBus.Peer.Ping", 0).Err; err != nil {
			t.Fatal(err)
		}
		select {
		case <-call.Done:
			t.Fatal("answered before the setter")
		default:
		}
		s.do(func() { data(s.Object("/o")).hold[0].Error("org.example.Error.Late", "late") })
		if err := (<-call.Done).Err; err == nil || err.(dbus.Error).Name != "org.example.Error.Late" {
			t.Errorf("got %v", err)
		}
	})
}

func TestSignals(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := client(t, s.addr)
	ch := signals(t, c)
	main, extra := ifaceMain(), ifaceExtra()
	full := "map[org.example.Main1:map[Late:[\"a\", \"b\"] Name:\"%s\" Number:@u %d] " +
		"org.freedesktop.DBus.Introspectable:map[] org.freedesktop.DBus.Properties:map[]]]"

	t.Run("values of the end of the event, parents first", func(t *testing.T) {
		s.do(func() {
			child := s.Add("/a/b/c", &thing{name: "c"}, main)
			d := &thing{name: "early"}
			o := s.Add("/a", d, main)
			d.name, d.number = "late", 7
			o.Changed(main, "Name")
			child.Changed(main, "Number")
		})
		expect(t, ch,
			added+"[/a "+fmt.Sprintf(full, "late", 7),
			added+"[/a/b/c "+fmt.Sprintf(full, "c", 0))
		s.quiet(ch)
	})
	o := s.Object("/a")
	t.Run("one signal for each interface, order of first change", func(t *testing.T) {
		s.do(func() {
			o.Changed(main, "Name")
			o.Changed(main, "Number", "Name", "Maybe")
			data(o).name, data(o).number = "x", 9
			o.Changed(main, "Number")
			s.Object("/a/b/c").Changed(main, "Number")
		})
		expect(t, ch,
			`/a `+changed+`[org.example.Main1 map[Name:"x" Number:@u 9] [Maybe]]`,
			`/a/b/c `+changed+`[org.example.Main1 map[Number:@u 0] []]`)
		s.quiet(ch)
	})
	t.Run("now, never merged", func(t *testing.T) {
		s.do(func() {
			o.Changed(main, "Name")
			for i := range 3 {
				data(o).number = uint32(i)
				o.ChangedNow(main, "Number")
			}
		})
		expect(t, ch,
			`/a `+changed+`[org.example.Main1 map[Name:"x"] []]`,
			`/a `+changed+`[org.example.Main1 map[Number:@u 0] []]`,
			`/a `+changed+`[org.example.Main1 map[Number:@u 1] []]`,
			`/a `+changed+`[org.example.Main1 map[Number:@u 2] []]`)
		s.quiet(ch)
	})
	t.Run("pending before a signal", func(t *testing.T) {
		if err := c.Object(testName, "/a").Call(mainName+".Signal", 0).Err; err != nil {
			t.Fatal(err)
		}
		expect(t, ch,
			`/a `+changed+`[org.example.Main1 map[Number:@u 3] []]`,
			`/a org.example.Main1.Happened [signal]`,
			`/a `+changed+`[org.example.Main1 map[Number:@u 4] []]`)
	})
	t.Run("added and removed within an event", func(t *testing.T) {
		s.do(func() {
			x := s.Add("/x", &thing{}, main)
			x.Changed(main, "Number")
			s.Remove(x)
			o.AddInterface(extra)
			o.RemoveInterface(extra)
		})
		s.quiet(ch)
	})
	t.Run("added, changed, removed in this order", func(t *testing.T) {
		s.do(func() { o.AddInterface(extra) })
		expect(t, ch, added+"[/a map[org.example.Extra1:map[]]]")
		s.do(func() {
			o.RemoveInterface(extra)
			o.Changed(main, "Number")
			o.AddInterface(&Interface{Name: "org.example.New1"})
		})
		expect(t, ch,
			added+"[/a map[org.example.New1:map[]]]",
			`/a `+changed+`[org.example.Main1 map[Number:@u 4] []]`,
			removed+"[/a [org.example.Extra1]]")
		s.quiet(ch)
	})
	t.Run("removed and added again within an event", func(t *testing.T) {
		s.do(func() { o.AddInterface(extra) })
		expect(t, ch, added+"[/a map[org.example.Extra1:map[]]]")
		s.do(func() { o.RemoveInterface(extra); o.AddInterface(extra) })
		expect(t, ch, removed+"[/a [org.example.Extra1]]", added+"[/a map[org.example.Extra1:map[]]]")
		s.quiet(ch)
	})
	t.Run("a tree goes, deepest first", func(t *testing.T) {
		s.do(func() {
			s.Add("/a/d", &thing{}, main)
			s.Add("/a/d/e", &thing{}, main)
		})
		<-ch
		<-ch
		s.do(func() {
			data(o).number = 77
			o.Changed(main, "Number")
			s.Remove(o)
			if s.Object("/a") != nil || s.Object("/a/b/c") != nil || len(s.tree.nodes) != 1 {
				t.Error("something is left in the tree")
			}
			// A removed object is harmless.
			o.Changed(main, "Number")
			o.ChangedNow(main, "Number")
			o.Emit(main, "Happened", func(e *Encoder) { e.String("no") })
			o.AddInterface(extra)
			o.RemoveInterface(main)
			s.Remove(o)
		})
		expect(t, ch,
			removed+"[/a/d/e [org.freedesktop.DBus.Properties org.freedesktop.DBus.Introspectable org.example.Main1]]",
			removed+"[/a/d [org.freedesktop.DBus.Properties org.freedesktop.DBus.Introspectable org.example.Main1]]",
			removed+"[/a/b/c [org.freedesktop.DBus.Properties org.freedesktop.DBus.Introspectable org.example.Main1]]",
			`/a `+changed+`[org.example.Main1 map[Number:@u 77] []]`,
			removed+"[/a [org.freedesktop.DBus.Properties org.freedesktop.DBus.Introspectable org.example.Main1 org.example.New1 org.example.Extra1]]")
		s.quiet(ch)
	})
	t.Run("removed and added again as a new object", func(t *testing.T) {
		s.do(func() { s.Add("/n", &thing{number: 1}, main) })
		<-ch
		s.do(func() {
			s.Remove(s.Object("/n"))
			s.Add("/n", &thing{name: "new"}, main)
		})
		expect(t, ch,
			removed+"[/n [org.freedesktop.DBus.Properties org.freedesktop.DBus.Introspectable org.example.Main1]]",
			added+"[/n "+fmt.Sprintf(full, "new", 0))
		s.quiet(ch)
	})
}

// entries lists the keys of a GetManagedObjects body in their order on the wire.
func entries(body []byte) (paths []string) {
	e := 8
	for e < len(body) {
		e = (e + 7) &^ 7
		n := int(body[e]) | int(body[e+1])<<8
		paths = append(paths, string(body[e+4:e+4+n]))
		e += 4 + n + 1
		e = (e + 3) &^ 3
		size := int(body[e]) | int(body[e+1])<<8 | int(body[e+2])<<16
		e = (e+4+7)&^7 + size
	}
	return paths
}

func TestManagedObjectsOrder(t *testing.T) {
	t.Parallel()
	c := &Conn{}
	c.tree.init(c)
	main, extra := ifaceMain(), ifaceExtra()
	for _, p := range []dbus.ObjectPath{"/o/b/hci0/dev/x", "/o/b", "/o/b/hci0", "/o/b/hci0/dev", "/o/b/hci1"} {
		c.Add(p, &thing{}, extra, main, &Interface{Name: "org.example.Last1"})
	}
	body, _, err := Marshal("a{oa{sa{sv}}}", func(e *Encoder) {
		a := e.begin(8)
		c.tree.root.manage(e)
		e.end(a)
		e.want = ""
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/o/b", "/o/b/hci1", "/o/b/hci0", "/o/b/hci0/dev", "/o/b/hci0/dev/x"}
	if d := cmp.Diff(want, entries(body)); d != "" {
		t.Errorf("parents come before children, the newest sibling first: %s", d)
	}
	for _, path := range []dbus.ObjectPath{"/o/b/hci0", "/o/b/hci0", "/o/b/hci1", "/o/b/hci0", "/o/b"} {
		c.Object(path).Front()
	}
	body, _, _ = Marshal("a{oa{sa{sv}}}", func(e *Encoder) {
		a := e.begin(8)
		c.tree.root.manage(e)
		e.end(a)
		e.want = ""
	})
	if d := cmp.Diff([]string{"/o/b", "/o/b/hci0", "/o/b/hci0/dev", "/o/b/hci0/dev/x", "/o/b/hci1"}, entries(body)); d != "" {
		t.Errorf("after Front: %s", d)
	}
	var names []string
	for _, i := range c.Object("/o/b").ifaces {
		names = append(names, i.Name)
	}
	if d := cmp.Diff([]string{introspectableName, extra.Name, mainName, propertiesName, "org.example.Last1"}, names); d != "" {
		t.Error(d)
	}
	var children []dbus.ObjectPath
	for _, o := range c.Children("/o/b") {
		children = append(children, o.Path())
	}
	if d := cmp.Diff([]dbus.ObjectPath{"/o/b/hci1", "/o/b/hci0"}, children); d != "" {
		t.Error(d)
	}
}

func TestAddRefuses(t *testing.T) {
	t.Parallel()
	get := func(*Object, *Encoder) {}
	for _, tt := range []struct {
		name string
		path dbus.ObjectPath
		i    *Interface
	}{
		{"bad path", "a", nil},
		{"root", "/", nil},
		{"taken", "/taken", nil},
		{"bad interface", "/a", &Interface{Name: "x"}},
		{"bad method", "/a", &Interface{Name: "x.y", Methods: []Method{{Name: "a b", Call: func(*Call) {}}}}},
		{"no function", "/a", &Interface{Name: "x.y", Methods: []Method{{Name: "A"}}}},
		{"bad argument", "/a", &Interface{Name: "x.y", Signals: []Signal{{Name: "A", Args: []Arg{{"x", "z"}}}}}},
		{"bad property", "/a", &Interface{Name: "x.y", Properties: []Property{{Name: "A", Type: "ss", Get: get}}}},
		{"no getter", "/a", &Interface{Name: "x.y", Properties: []Property{{Name: "A", Type: "s"}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &Conn{}
			c.tree.init(c)
			c.Add("/taken", nil)
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
				if len(c.tree.nodes) != 2 {
					t.Error("the tree changed")
				}
			}()
			if tt.i != nil {
				c.Add(tt.path, nil, tt.i)
			} else {
				c.Add(tt.path, nil)
			}
		})
	}
}

// A property that fails must not take the others with it.
func TestBadPropertyIsLeftOut(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := client(t, s.addr)
	s.do(func() {
		s.Add("/o", nil, &Interface{Name: "org.example.Bad1", Properties: []Property{
			{Name: "First", Type: "y", Get: func(_ *Object, e *Encoder) { e.Byte(1) }},
			{Name: "Panics", Type: "s", Get: func(*Object, *Encoder) { panic("bad getter") }},
			{Name: "Lies", Type: "as", Get: func(_ *Object, e *Encoder) { e.Array("s", func() { e.Uint32(1) }) }},
			{Name: "Silent", Type: "s", Get: func(*Object, *Encoder) {}},
			{Name: "Path", Type: "o", Get: func(_ *Object, e *Encoder) { e.ObjectPath("") }},
			{Name: "Last", Type: "t", Get: func(_ *Object, e *Encoder) { e.Uint64(2) }},
		}})
	})
	var got map[string]dbus.Variant
	if err := c.Object(testName, "/o").Call("org.freedesktop.DBus.Properties.GetAll", 0, "org.example.Bad1").Store(&got); err != nil {
		t.Fatal(err)
	}
	want := map[string]dbus.Variant{"First": dbus.MakeVariant(byte(1)), "Last": dbus.MakeVariant(uint64(2))}
	if d := cmp.Diff(want, got, variants); d != "" {
		t.Error(d)
	}
	if !contains(s.log.String(), "bad getter") {
		t.Error("the panic is not in the log")
	}
}

// TestTooMuchToList: a tree that is too large for one message is listed as far as it fits, the newest objects first.
func TestTooMuchToList(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const size = 1 << 20
	s.do(func() {
		for i := range maxMessage/size + 2 {
			s.Add(dbus.ObjectPath(fmt.Sprint("/o", i)), &thing{name: strings.Repeat("x", size)}, ifaceMain())
		}
	})
	var got map[dbus.ObjectPath]map[string]map[string]dbus.Variant
	if err := client(t, s.addr).Object(testName, "/").Call(objectManagerName+".GetManagedObjects", 0).Store(&got); err != nil {
		t.Fatal(err)
	}
	if n := len(got); n < maxListed/size || n > maxListed/size+1 {
		t.Errorf("%d objects of %d were listed", n, maxMessage/size+2)
	}
	if _, ok := got[dbus.ObjectPath(fmt.Sprint("/o", maxMessage/size+1))]; !ok {
		t.Error("the newest object is missing")
	}
	if !contains(s.log.String(), "cannot list all objects") {
		t.Error("nobody said so")
	}
}
