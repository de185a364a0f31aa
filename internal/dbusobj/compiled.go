package dbusobj

import (
	"fmt"
	"html"
	"strings"
)

// compiled is an Interface with what is derived from it.
type compiled struct {
	*Interface
	in, out []string          // signatures of the methods
	signals map[string]string // signatures by name
	xml     string
}

// compile returns the compiled form of i. It panics if i is malformed, which the bus
// would otherwise punish with a disconnection.
func (t *tree) compile(i *Interface) *compiled {
	if c := t.compiled[i]; c != nil {
		return c
	}
	if !validName(i.Name) {
		panic(fmt.Sprintf("dbusobj: interface %q: invalid name", i.Name))
	}
	c := &compiled{Interface: i, signals: make(map[string]string)}
	for _, m := range i.Methods {
		i.check(m.Name, m.Call != nil)
		c.in = append(c.in, i.signature(m.Name, m.In))
		c.out = append(c.out, i.signature(m.Name, m.Out))
	}
	for _, s := range i.Signals {
		i.check(s.Name, true)
		c.signals[s.Name] = i.signature(s.Name, s.Args)
	}
	for _, p := range i.Properties {
		i.check(p.Name, p.Get != nil && validSingle(p.Type))
	}
	c.xml = i.introspect()
	t.compiled[i] = c
	return c
}

func (i *Interface) check(member string, ok bool) {
	if !ok || !validMember(member) {
		panic(fmt.Sprintf("dbusobj: interface %s: malformed member %q", i.Name, member))
	}
}

func (i *Interface) signature(member string, args []Arg) string {
	var sig strings.Builder
	for _, a := range args {
		i.check(member, validSingle(a.Type))
		sig.WriteString(a.Type)
	}
	i.check(member, sig.Len() <= 255)
	return sig.String()
}

func (c *compiled) property(name string) int {
	for n := range c.Properties {
		if c.Properties[n].Name == name {
			return n
		}
	}
	return -1
}

func (p *Property) exists(o *Object) bool { return p.Exists == nil || p.Exists(o) }

// introspect describes the interface to the letter as gdbus does.
func (i *Interface) introspect() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<interface name="%s">`, i.Name)
	for _, m := range i.Methods {
		fmt.Fprintf(&b, `<method name="%s">`, m.Name)
		writeArgs(&b, m.In, ` direction="in"`)
		writeArgs(&b, m.Out, ` direction="out"`)
		if m.Deprecated {
			b.WriteString(`<annotation name="org.freedesktop.DBus.Deprecated" value="true"/>`)
		}
		if m.NoReply {
			b.WriteString(`<annotation name="org.freedesktop.DBus.Method.NoReply" value="true"/>`)
		}
		b.WriteString("</method>")
	}
	for _, s := range i.Signals {
		fmt.Fprintf(&b, `<signal name="%s">`, s.Name)
		writeArgs(&b, s.Args, "")
		b.WriteString("</signal>\n")
	}
	for _, p := range i.Properties {
		access := "read"
		if p.Set != nil {
			access = "readwrite"
		}
		fmt.Fprintf(&b, `<property name="%s" type="%s" access="%s"></property>`, p.Name, p.Type, access)
	}
	b.WriteString("</interface>")
	return b.String()
}

func writeArgs(b *strings.Builder, args []Arg, direction string) {
	for _, a := range args {
		fmt.Fprintf(b, `<arg name="%s" type="%s"%s/>`+"\n", html.EscapeString(a.Name), a.Type, direction)
	}
}
