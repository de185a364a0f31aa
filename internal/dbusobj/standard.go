package dbusobj

import (
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Errors of org.freedesktop.DBus as gdbus and libdbus use them.
const (
	errFailed           = "org.freedesktop.DBus.Error.Failed"
	errInvalidArgs      = "org.freedesktop.DBus.Error.InvalidArgs"
	errInvalidSignature = "org.freedesktop.DBus.Error.InvalidSignature"
	errLimits           = "org.freedesktop.DBus.Error.LimitsExceeded"
	errNoOwner          = "org.freedesktop.DBus.Error.NameHasNoOwner"
	errPropertyReadOnly = "org.freedesktop.DBus.Error.PropertyReadOnly"
	errUnknownMethod    = "org.freedesktop.DBus.Error.UnknownMethod"
	errUnknownObject    = "org.freedesktop.DBus.Error.UnknownObject"
	errUnknownProperty  = "org.freedesktop.DBus.Error.UnknownProperty"

	peerInterface = "org.freedesktop.DBus.Peer"

	doctype = "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n" +
		"\"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n"
)

// The interfaces that the tree provides itself.
const (
	introspectableName = "org.freedesktop.DBus.Introspectable"
	propertiesName     = "org.freedesktop.DBus.Properties"
	objectManagerName  = "org.freedesktop.DBus.ObjectManager"
)

func newIntrospectable() *Interface {
	return &Interface{
		Name: introspectableName,
		Methods: []Method{
			{Name: "Introspect", Out: []Arg{{"xml", "s"}}, Call: introspect},
		},
	}
}

func newProperties() *Interface {
	return &Interface{
		Name: propertiesName,
		Methods: []Method{
			{Name: "Get", In: []Arg{{"interface", "s"}, {"name", "s"}}, Out: []Arg{{"value", "v"}}, Call: getProperty},
			{Name: "Set", In: []Arg{{"interface", "s"}, {"name", "s"}, {"value", "v"}}, Call: setProperty},
			{Name: "GetAll", In: []Arg{{"interface", "s"}}, Out: []Arg{{"properties", "a{sv}"}}, Call: getAllProperties},
		},
		Signals: []Signal{{Name: "PropertiesChanged", Args: []Arg{
			{"interface", "s"}, {"changed_properties", "a{sv}"}, {"invalidated_properties", "as"},
		}}},
	}
}

func newObjectManager() *Interface {
	return &Interface{
		Name: objectManagerName,
		Methods: []Method{
			{Name: "GetManagedObjects", Out: []Arg{{"objects", "a{oa{sa{sv}}}"}}, Call: getManagedObjects},
		},
		Signals: []Signal{
			{Name: "InterfacesAdded", Args: []Arg{{"object", "o"}, {"interfaces", "a{sa{sv}}"}}},
			{Name: "InterfacesRemoved", Args: []Arg{{"object", "o"}, {"interfaces", "as"}}},
		},
	}
}

func introspect(c *Call) {
	o := c.Object
	var b strings.Builder
	b.WriteString(doctype + "<node>")
	for _, i := range o.ifaces {
		if !i.Hidden {
			b.WriteString(i.xml)
		}
	}
	if o.children == "" && o.first != nil {
		o.children = listChildren(o, `<node name="`, `"/>`)
	}
	b.WriteString(o.children)
	b.WriteString("</node>")
	c.Reply(func(e *Encoder) { e.String(b.String()) })
}

// introspectNothing is libdbus's own answer where no object answers: the children of the
// node, none for a path that is not in the tree.
func introspectNothing(c *Call, node *Object) {
	xml := doctype + "<node>\n"
	if node != nil {
		xml += listChildren(node, `  <node name="`, "\"/>\n")
	}
	c.out = "s"
	c.Reply(func(e *Encoder) { e.String(xml + "</node>\n") })
}

func listChildren(o *Object, before, after string) string {
	var names []string
	for child := o.first; child != nil; child = child.next {
		names = append(names, string(child.path[strings.LastIndexByte(string(child.path), '/')+1:]))
	}
	slices.Sort(names)
	var b strings.Builder
	for _, n := range names {
		b.WriteString(before)
		b.WriteString(n)
		b.WriteString(after)
	}
	return b.String()
}

// argInterface finds the interface that the first argument names; the error is sent.
func argInterface(c *Call) *compiled {
	name, _ := c.Body[0].(string)
	i := c.Object.named(name)
	if i == nil {
		c.Error(errInvalidArgs, "No such interface '"+name+"'")
	}
	return i
}

func getProperty(c *Call) {
	i := argInterface(c)
	if i == nil {
		return
	}
	name, _ := c.Body[1].(string)
	n := i.property(name)
	if n < 0 || !i.Properties[n].exists(c.Object) {
		c.Error(errInvalidArgs, "No such property '"+name+"'")
		return
	}
	p := &i.Properties[n]
	c.Reply(func(e *Encoder) {
		e.Variant(p.Type, func() { p.Get(c.Object, e) })
	})
}

func setProperty(c *Call) {
	i := argInterface(c)
	if i == nil {
		return
	}
	name, _ := c.Body[1].(string)
	value, _ := c.Body[2].(dbus.Variant)
	n := i.property(name)
	if n < 0 || !i.Properties[n].exists(c.Object) {
		c.Error(errUnknownProperty, "No such property '"+name+"'")
		return
	}
	p := &i.Properties[n]
	switch {
	case p.Set == nil:
		c.Error(errPropertyReadOnly, "Property '"+name+"' is not writable")
	case value.Signature().String() != p.Type:
		c.Error(errInvalidSignature, "Invalid signature for '"+name+"'")
	default:
		p.Set(c.Object, value.Value(), c)
	}
}

func getAllProperties(c *Call) {
	if i := argInterface(c); i != nil {
		c.Reply(func(e *Encoder) { e.properties(c.Object, i, nil) })
	}
}

func getManagedObjects(c *Call) {
	c.Reply(func(e *Encoder) {
		if !e.take("a{oa{sa{sv}}}") {
			return
		}
		t := &c.Object.conn.tree
		e.buf = slices.Grow(e.buf, t.size+t.size/16)
		a := e.begin(8)
		t.root.manage(e)
		e.end(a)
		t.size = len(e.buf)
	})
}

// maxListed is where the list of objects ends: the bus takes no message over 32 MiB, and a list that lacks the oldest
// objects is better than an error for everybody.
const maxListed = maxMessage - 4<<20

// manage appends the entries of all objects below o, each before those below it.
func (o *Object) manage(e *Encoder) {
	for child := o.first; child != nil; child = child.next {
		if len(e.buf) > maxListed {
			o.conn.log.Error("cannot list all objects: there are too many for one message", "path", o.path, "bytes", len(e.buf))
			return
		}
		if child.live {
			e.align(8)
			e.putString(string(child.path))
			e.want = "a{sa{sv}}" + e.want
			e.interfaces(child, child.ifaces)
		}
		child.manage(e)
	}
}

// begin opens an array of elements of that alignment without checks, end closes it.
func (e *Encoder) begin(alignment int) (mark [2]int) {
	e.put32(0)
	mark[0] = len(e.buf) - 4
	e.align(alignment)
	mark[1] = len(e.buf)
	return mark
}

func (e *Encoder) end(mark [2]int) {
	e.arrayLength(mark[0], mark[1])
}

// interfaces appends an a{sa{sv}} of interfaces of o.
func (e *Encoder) interfaces(o *Object, ifaces []*compiled) {
	if !e.take("a{sa{sv}}") {
		return
	}
	a := e.begin(8)
	for _, i := range ifaces {
		e.align(8)
		e.putString(i.Name)
		e.want = "a{sv}" + e.want
		e.properties(o, i, nil)
	}
	e.end(a)
}

// properties appends an a{sv} of the properties of o's interface i that exist: all, or
// those with the given indices.
func (e *Encoder) properties(o *Object, i *compiled, only []int) {
	if !e.take("a{sv}") {
		return
	}
	a := e.begin(8)
	if only == nil {
		for n := range i.Properties {
			e.property(o, i, n)
		}
	}
	for _, n := range only {
		e.property(o, i, n)
	}
	e.end(a)
}

// property appends the entry of one property if it exists. One that panics or writes
// something else than it declared is left out, so that the others are not lost.
func (e *Encoder) property(o *Object, i *compiled, n int) {
	p := &i.Properties[n]
	want, elem := e.want, e.elem
	err := e.attempt(func() {
		if !p.exists(o) {
			return
		}
		e.align(8)
		e.putString(p.Name)
		e.putSignature(p.Type)
		e.want, e.elem = p.Type, ""
		p.Get(o, e)
		if e.want != "" {
			e.fail("values of type %q are missing", e.want)
		}
	})
	e.want, e.elem = want, elem
	if err != nil {
		o.conn.log.Error("cannot read property", "path", o.path, "interface", i.Name, "property", p.Name, "error", err)
	}
}
