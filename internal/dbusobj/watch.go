package dbusobj

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	// maxNameRules is for how many names we ask for a match rule each; with more we listen
	// to all names that go. The system bus allows a connection 512 rules.
	maxNameRules = 128
	// busTimeout is for calls to the bus itself, which always answers.
	busTimeout = 25 * time.Second

	ruleOwner = "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus'," +
		"interface='org.freedesktop.DBus',member='NameOwnerChanged'"
	ruleGone = ruleOwner + ",arg2=''"
)

// watches is what we listen to on the bus.
type watches struct {
	names   map[string]*nameWatch
	signals []*signalWatch
	rules   map[string]int // uses of each match rule
	ruled   int            // names with a rule of their own
	all     bool           // ruleGone is set, for good
}

type nameWatch struct {
	rule  string // "" if ruleGone covers it
	gones []*goneFunc
}

// goneFunc is one watcher of a name; f is nil once it was called or cancelled.
type goneFunc struct{ f func() }

type signalWatch struct {
	sender, path, iface, member string
	f                           func(body []any)
}

// WatchName calls gone in the loop, once, when the connection with that unique name
// leaves the bus, also if it left before. It is never called after cancel, nor before
// WatchName returned.
func (c *Conn) WatchName(unique string, gone func()) (cancel func()) {
	w := &c.watches
	n := w.names[unique]
	if n == nil {
		if !validDest(unique) {
			c.log.Error("cannot watch name: it is invalid", "name", unique)
			return func() {}
		}
		n = c.watchNewName(unique)
	}
	entry := &goneFunc{gone}
	n.gones = append(n.gones, entry)
	return func() {
		entry.f = nil
		i := slices.Index(n.gones, entry)
		if i < 0 {
			return
		}
		n.gones = slices.Delete(n.gones, i, i+1)
		if len(n.gones) == 0 && w.names[unique] == n {
			c.forgetName(unique, n)
		}
	}
}

func (c *Conn) watchNewName(unique string) *nameWatch {
	w := &c.watches
	n := new(nameWatch)
	if w.names == nil {
		w.names = make(map[string]*nameWatch)
	}
	w.names[unique] = n
	switch {
	case w.ruled < maxNameRules:
		w.ruled++
		n.rule = ruleOwner + ",arg0='" + unique + "'"
		c.addRule(n.rule)
	case !w.all:
		w.all = true
		c.addRule(ruleGone)
	}
	// The bus handles this after the rule, so the name can't leave unseen in between.
	c.Call(busName, busPath, busInterface, "GetNameOwner", "s",
		func(e *Encoder) { e.String(unique) }, busTimeout, func(_ []any, err error) {
			var e dbus.Error
			if errors.As(err, &e) && e.Name == errNoOwner && w.names[unique] == n {
				c.nameGone(unique)
			}
		})
	return n
}

func (c *Conn) forgetName(unique string, n *nameWatch) {
	delete(c.watches.names, unique)
	if n.rule != "" {
		c.watches.ruled--
		c.removeRule(n.rule)
	}
}

func (c *Conn) nameGone(unique string) {
	n := c.watches.names[unique]
	if n == nil {
		return
	}
	c.forgetName(unique, n)
	gones := n.gones
	n.gones = nil
	for _, gone := range gones {
		if f := gone.f; f != nil {
			gone.f = nil
			_ = c.guard("watch of name", f)
		}
	}
}

// WatchSignal calls f in the loop with the arguments of each signal that matches. Empty strings match everything;
// sender must be a unique name, the bus, or empty. File descriptors in body are closed when f returns. All watches of
// one sender's interface share a match rule; the system bus allows a connection 512 of them.
func (c *Conn) WatchSignal(sender string, path dbus.ObjectPath, iface, member string, f func(body []any)) (cancel func()) {
	rule := "type='signal'"
	for _, m := range []struct {
		key, value string
		ok         bool
	}{
		{"sender", sender, sender == busName || sender != "" && sender[0] == ':' && validDest(sender)},
		{"path", string(path), validPath(string(path))},
		{"interface", iface, validName(iface)},
		{"member", member, validMember(member)},
	} {
		if m.value == "" {
			continue
		}
		if !m.ok {
			c.log.Error("cannot watch signal", m.key, m.value)
			return func() {}
		}
		if m.key == "sender" || m.key == "interface" {
			rule += fmt.Sprintf(",%s='%s'", m.key, m.value)
		}
	}
	s := &signalWatch{sender, string(path), iface, member, f}
	w := &c.watches
	w.signals = append(w.signals, s)
	c.addRule(rule)
	return func() {
		if i := slices.Index(w.signals, s); i >= 0 {
			s.f = nil
			w.signals = slices.Delete(slices.Clone(w.signals), i, i+1)
			c.removeRule(rule)
		}
	}
}

func (c *Conn) addRule(rule string) {
	w := &c.watches
	if w.rules == nil {
		w.rules = make(map[string]int)
	}
	w.rules[rule]++
	if w.rules[rule] == 1 {
		c.addMatch(rule)
	}
}

func (c *Conn) addMatch(rule string) {
	c.Call(busName, busPath, busInterface, "AddMatch", "s",
		func(e *Encoder) { e.String(rule) }, busTimeout, func(_ []any, err error) {
			if err != nil && !errors.Is(err, ErrClosed) {
				c.log.Error("cannot add match rule", "rule", rule, "error", err)
			}
		})
}

func (c *Conn) removeRule(rule string) {
	w := &c.watches
	w.rules[rule]--
	if w.rules[rule] > 0 {
		return
	}
	delete(w.rules, rule)
	c.Call(busName, busPath, busInterface, "RemoveMatch", "s",
		func(e *Encoder) { e.String(rule) }, 0, nil)
}

func (c *Conn) handleSignal(m *message) {
	if m.sender == busName && m.iface == busInterface && m.member == "NameOwnerChanged" && m.sig == "sss" {
		if body, err := m.decode(); err == nil {
			if name, owner := body[0].(string), body[2].(string); owner == "" && strings.HasPrefix(name, ":") {
				c.nameGone(name)
			}
		}
	}
	var body []any
	decoded := false
	for _, s := range c.watches.signals {
		if s.f == nil || s.sender != "" && s.sender != m.sender || s.path != "" && s.path != m.path ||
			s.iface != "" && s.iface != m.iface || s.member != "" && s.member != m.member {
			continue
		}
		if !decoded {
			var err error
			body, err = m.decode()
			if err != nil {
				c.log.Debug("bad signal", "sender", m.sender, "member", m.member, "error", err)
				return
			}
			decoded = true
		}
		_ = c.guard("watch of signal", func() { s.f(body) })
	}
}
