package dbusobj

import (
	"fmt"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Object is a node of the tree. Its methods are for the loop only; on an object that was
// removed they do nothing.
type Object struct {
	conn *Conn
	path dbus.ObjectPath
	data any
	// live: it was added and not removed. Other nodes are in the tree only because nodes
	// below them are.
	live   bool
	ifaces []*compiled

	// Siblings are listed newest first.
	parent, next, prev, first *Object
	children                  string // the introspection of the children, "" if not known

	pend *pending // nil: nothing to announce
}

// tree is all objects of a connection.
type tree struct {
	nodes    map[string]*Object
	root     *Object
	compiled map[*Interface]*compiled
	size     int // of the last answer of GetManagedObjects, in bytes
	// Calls of what is at or below alias go to target; both empty: none do.
	alias, target string

	introspectable, properties *compiled
}

func (t *tree) init(c *Conn) {
	t.nodes = make(map[string]*Object)
	t.compiled = make(map[*Interface]*compiled)
	t.root = &Object{conn: c, path: "/", live: true}
	t.introspectable, t.properties = t.compile(newIntrospectable()), t.compile(newProperties())
	t.root.ifaces = []*compiled{t.introspectable, t.compile(newObjectManager())}
	t.nodes["/"] = t.root
}

func parentPath(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

// node returns the node at path, which it makes if there is none.
func (t *tree) node(path string) *Object {
	if o := t.nodes[path]; o != nil {
		return o
	}
	p := t.node(parentPath(path))
	o := &Object{conn: p.conn, path: dbus.ObjectPath(path), parent: p, next: p.first}
	if p.first != nil {
		p.first.prev = o
	}
	p.first = o
	p.children = ""
	t.nodes[path] = o
	return o
}

// called returns the node that answers calls of path, nil if there is none.
func (t *tree) called(path string) *Object {
	if o := t.nodes[path]; o != nil || t.alias == "" {
		return o
	}
	if below, ok := strings.CutPrefix(path, t.alias); ok && (below == "" || below[0] == '/') {
		return t.nodes[t.target+below]
	}
	return nil
}

// Alias makes the objects at and below target answer calls of the same paths at and below alias, too, where nothing
// else is. They are not listed, introspected from above or signalled there. There is one alias at most: a second
// replaces the first.
func (c *Conn) Alias(alias, target dbus.ObjectPath) {
	c.tree.alias, c.tree.target = string(alias), string(target)
}

// prune takes o out if nothing needs it, then its parent.
func (t *tree) prune(o *Object) {
	for o != t.root && !o.live && o.first == nil {
		p := o.parent
		if o.prev != nil {
			o.prev.next = o.next
		} else {
			p.first = o.next
		}
		if o.next != nil {
			o.next.prev = o.prev
		}
		p.children = ""
		delete(t.nodes, string(o.path))
		o = p
	}
}

// Add puts an object into the tree, with Introspectable and the given interfaces; the
// first one that has properties brings Properties behind it, as gdbus does it.
// InterfacesAdded is sent with the next flush. The path must be valid and free:
// otherwise Add panics, as it does for a malformed interface.
func (c *Conn) Add(path dbus.ObjectPath, data any, ifaces ...*Interface) *Object {
	if !validPath(string(path)) {
		panic(fmt.Sprintf("dbusobj: cannot add object %q: invalid path", path))
	}
	if o := c.Object(path); o != nil || path == "/" {
		panic(fmt.Sprintf("dbusobj: cannot add object %s: there is one", path))
	}
	all := make([]*compiled, 0, len(ifaces)+2)
	for _, i := range ifaces {
		all = append(all, c.tree.compile(i)) // before the tree changes: it may panic
	}
	o := c.tree.node(string(path))
	o.live, o.data = true, data
	o.ifaces = make([]*compiled, 0, len(ifaces)+2)
	o.add(c.tree.introspectable)
	for _, i := range all {
		o.add(i)
	}
	return o
}

// Remove takes an object out of the tree, and before it all objects below it, the
// deepest first. What is pending for them is sent now, then InterfacesRemoved: their
// properties are still read, so their data must still be valid.
func (c *Conn) Remove(o *Object) {
	if o == nil || o.conn != c || !o.live || o == c.tree.root {
		return
	}
	c.removeBelow(o)
	o.unexport()
	c.tree.prune(o)
}

func (c *Conn) removeBelow(o *Object) {
	for o.first != nil {
		child := o.first
		c.removeBelow(child)
		if child.live {
			child.unexport()
			c.tree.prune(child)
		}
	}
}

// unexport takes all interfaces away and announces it at once. The list in
// InterfacesRemoved is then: Properties, Introspectable, the others in the order in which
// they were added (bluetoothd 5.87, recorded).
func (o *Object) unexport() {
	t := &o.conn.tree
	standard := func(i *compiled) bool { return i == t.introspectable || i == t.properties }
	for _, i := range slices.Backward(slices.Clone(o.ifaces)) {
		if !standard(i) {
			o.remove(i)
		}
	}
	for _, i := range slices.Clone(o.ifaces) {
		o.remove(i)
	}
	o.process()
	o.dropPending()
	o.live, o.data, o.ifaces = false, nil, nil
}

// Front makes o the one that is listed first among its siblings, as if it were the newest.
func (o *Object) Front() {
	p := o.parent
	if !o.live || p == nil || p.first == o {
		return
	}
	o.prev.next = o.next
	if o.next != nil {
		o.next.prev = o.prev
	}
	o.prev, o.next = nil, p.first
	p.first.prev, p.first = o, o
	p.children = ""
}

// Object returns the object at path, nil if there is none.
func (c *Conn) Object(path dbus.ObjectPath) *Object {
	if o := c.tree.nodes[string(path)]; o != nil && o.live {
		return o
	}
	return nil
}

// Children returns the objects directly below path, in the order in which they were added.
func (c *Conn) Children(path dbus.ObjectPath) []*Object {
	var out []*Object
	if o := c.tree.nodes[string(path)]; o != nil {
		for child := o.first; child != nil; child = child.next {
			if child.live {
				out = append(out, child)
			}
		}
	}
	slices.Reverse(out)
	return out
}

// Path is where the object is, or was.
func (o *Object) Path() dbus.ObjectPath { return o.path }

// Data is what [Conn.Add] was given; nil once the object was removed.
func (o *Object) Data() any { return o.data }

// Conn is the connection that serves the object.
func (o *Object) Conn() *Conn { return o.conn }

// Has says whether the object has that very interface.
func (o *Object) Has(i *Interface) bool { return o.find(i) != nil }

func (o *Object) find(i *Interface) *compiled {
	for _, have := range o.ifaces {
		if have.Interface == i {
			return have
		}
	}
	return nil
}

func (o *Object) named(name string) *compiled {
	for _, i := range o.ifaces {
		if i.Name == name {
			return i
		}
	}
	return nil
}

// AddInterface adds an interface; InterfacesAdded is sent with the next flush. An
// interface whose name the object has already is ignored. It panics like [Conn.Add].
func (o *Object) AddInterface(i *Interface) {
	if o.live {
		o.add(o.conn.tree.compile(i))
	}
}

func (o *Object) add(i *compiled) {
	if o.named(i.Name) != nil {
		return
	}
	if o.pend != nil && slices.Contains(o.pend.removed, i.Name) {
		o.process() // gdbus would announce the new one before the end of the old one
	}
	o.ifaces = append(o.ifaces, i)
	o.pending().added = append(o.pend.added, i)
	if len(i.Properties) > 0 && o.named(propertiesName) == nil {
		o.add(o.conn.tree.properties)
	}
}

// RemoveInterface removes an interface; InterfacesRemoved is sent with the next flush, or
// nothing if InterfacesAdded wasn't sent yet.
func (o *Object) RemoveInterface(i *Interface) {
	if have := o.find(i); have != nil {
		o.remove(have)
	}
}

func (o *Object) remove(i *compiled) {
	if p := o.pend; p == nil || !p.isNew(i) {
		o.processChanged(i)
		p = o.pending()
		p.removed = slices.Insert(p.removed, 0, i.Name)
	} else {
		p.added = slices.DeleteFunc(p.added, func(x *compiled) bool { return x == i })
	}
	o.ifaces = slices.DeleteFunc(o.ifaces, func(x *compiled) bool { return x == i })
}
