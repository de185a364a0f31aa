package bluezshim_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// client is a stranger's connection with a record, in order, of all signals of org.bluez and of its replies.
type client struct {
	t     testing.TB
	h     *harness
	conn  *dbus.Conn
	ch    chan *dbus.Call       // replies, and signals as calls without Done
	names map[*dbus.Call]string // what the record calls a reply
	added map[string]map[string]map[string]dbus.Variant
}

// DeliverSignal puts a signal among the replies.
func (c *client) DeliverSignal(_, _ string, s *dbus.Signal) {
	c.ch <- &dbus.Call{Body: []any{s}}
}

func (h *harness) client() *client {
	h.t.Helper()
	c := &client{t: h.t, h: h, ch: make(chan *dbus.Call, 1<<17), names: map[*dbus.Call]string{}, added: map[string]map[string]map[string]dbus.Variant{}}
	conn, err := dbus.Connect(h.addr, dbus.WithSignalHandler(c))
	if err != nil {
		h.t.Fatal(err)
	}
	c.conn = conn
	h.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.AddMatchSignal(dbus.WithMatchSender("org.bluez")); err != nil {
		h.t.Fatal(err)
	}
	c.lines()
	return c
}

// leave takes the client off the bus and waits until the shim has been told.
func (h *harness) leave(c *client) {
	h.t.Helper()
	h.gone(c.conn.Names()[0], func() { _ = c.conn.Close() })
}

// gone runs leave and waits until the shim has been told that the unique name left the bus.
func (h *harness) gone(name string, leave func()) {
	h.t.Helper()
	watch := h.client()
	if err := watch.conn.AddMatchSignal(dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, name)); err != nil {
		h.t.Fatal(err)
	}
	leave()
	watch.await("/org/freedesktop/DBus org.freedesktop.DBus.NameOwnerChanged " + name + " " + name + " ")
	watch.lines()
	_ = watch.conn.Close()
}

func fullName(s string) string {
	switch {
	case strings.HasPrefix(s, "Properties."):
		return "org.freedesktop.DBus." + s
	case strings.HasPrefix(s, "Extension."):
		return "org.bluez_esphome.Device1." + strings.TrimPrefix(s, "Extension.")
	case strings.HasPrefix(s, "DBus."):
		return "org.freedesktop." + s
	case s == "" || strings.HasPrefix(s, "org."):
		return s
	}
	return "org.bluez." + s
}

// fullPath is the reverse of shortPath.
func fullPath(s string) dbus.ObjectPath {
	if strings.HasPrefix(s, "/") {
		return dbus.ObjectPath(s)
	}
	if s == "bluez" {
		return "/org/bluez"
	}
	return dbus.ObjectPath("/org/bluez/" + strings.ReplaceAll(s, "/dev", "/dev_AA_BB_CC_DD_EE_0"))
}

func shortPath(p dbus.ObjectPath) string {
	s, ok := strings.CutPrefix(string(p), "/org/bluez/")
	if !ok {
		return string(p)
	}
	return strings.ReplaceAll(s, "dev_AA_BB_CC_DD_EE_0", "dev")
}

// send makes a call; the record names its reply by the member.
func (c *client) send(path, method string, args ...any) {
	c.sendAs(method[strings.LastIndexByte(method, '.')+1:], path, method, args...)
}

func (c *client) sendAs(name, path, method string, args ...any) {
	c.names[c.conn.Object("org.bluez", fullPath(path)).Go(fullName(method), 0, c.ch, args...)] = name
}

func (c *client) set(path, iface, name string, v any) {
	c.sendAs("Set", path, "Properties.Set", fullName(iface), name, dbus.MakeVariant(v))
}

// call makes a call and waits for its reply, whose values it returns; the record goes on without it.
func (c *client) call(path, method string, args ...any) ([]any, string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r := c.conn.Object("org.bluez", fullPath(path)).CallWithContext(ctx, fullName(method), 0, args...)
	return r.Body, errorLine(r.Err)
}

// get reads a property: its value as the record shows it, or the error.
func (c *client) get(path, iface, name string) string {
	body, e := c.call(path, "Properties.Get", fullName(iface), name)
	if e != "" {
		return e
	}
	return value(body[0])
}

func (c *client) props(path, iface string) map[string]string {
	body, e := c.call(path, "Properties.GetAll", fullName(iface))
	if e != "" {
		c.t.Fatal(e)
	}
	out := map[string]string{}
	for k, v := range body[0].(map[string]dbus.Variant) {
		out[k] = value(v)
	}
	return out
}

func errorLine(err error) string {
	var e dbus.Error
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &e):
		return err.Error()
	}
	text := ""
	if len(e.Body) > 0 {
		text = fmt.Sprint(e.Body[0])
	}
	name := strings.TrimPrefix(strings.TrimPrefix(e.Name, "org.bluez.Error."), "org.freedesktop.")
	return strings.TrimSuffix(fmt.Sprintf("%s: %s", name, text), "\n")
}

func value(v any) string {
	switch v := v.(type) {
	case dbus.Variant:
		return value(v.Value())
	case []byte:
		return hex.EncodeToString(v)
	case dbus.ObjectPath:
		return shortPath(v)
	case string:
		return v
	case map[uint16]dbus.Variant:
		return dict(v, func(k uint16) string { return fmt.Sprintf("%04x", k) })
	case map[byte]dbus.Variant:
		return dict(v, func(k byte) string { return fmt.Sprintf("%02x", k) })
	case map[string]dbus.Variant:
		return dict(v, func(k string) string { return k })
	}
	return fmt.Sprint(v)
}

func dict[K ~uint8 | ~uint16 | ~string](m map[K]dbus.Variant, key func(K) string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, key(k)+":"+value(m[k]))
	}
	return "{" + strings.Join(parts, " ") + "}"
}

// line renders a reply or a signal.
func (c *client) line(x *dbus.Call) string {
	s, ok := signalOf(x)
	if !ok {
		name := c.names[x]
		delete(c.names, x)
		if e := errorLine(x.Err); e != "" {
			return fmt.Sprint(name, ": ", e)
		}
		out := fmt.Sprint(name, ": ok")
		for _, v := range x.Body {
			out += " " + value(v)
		}
		return out
	}
	path := shortPath(s.Path)
	switch s.Name {
	case "org.freedesktop.DBus.Properties.PropertiesChanged":
		out := path + " " + strings.TrimPrefix(s.Body[0].(string), "org.bluez.")
		changed := s.Body[1].(map[string]dbus.Variant)
		for _, k := range slices.Sorted(maps.Keys(changed)) {
			out += " " + k + "=" + value(changed[k])
		}
		for _, k := range s.Body[2].([]string) {
			out += " -" + k
		}
		return out
	case "org.freedesktop.DBus.ObjectManager.InterfacesAdded":
		p := shortPath(s.Body[0].(dbus.ObjectPath))
		ifaces := s.Body[1].(map[string]map[string]dbus.Variant)
		c.added[p] = ifaces
		if _, whole := ifaces["org.freedesktop.DBus.Introspectable"]; whole {
			return "+ " + p
		}
		return "+ " + p + " " + strings.Join(ifaceNames(slices.Sorted(maps.Keys(ifaces))), " ")
	case "org.freedesktop.DBus.ObjectManager.InterfacesRemoved":
		p := shortPath(s.Body[0].(dbus.ObjectPath))
		if names := s.Body[1].([]string); !slices.Contains(names, "org.freedesktop.DBus.Introspectable") {
			return "- " + p + " " + strings.Join(ifaceNames(names), " ")
		}
		return "- " + p
	}
	out := path + " " + strings.TrimPrefix(s.Name, "org.bluez.")
	for _, v := range s.Body {
		out += " " + value(v)
	}
	return out
}

func ifaceNames(names []string) []string {
	for i, n := range names {
		names[i] = strings.TrimPrefix(n, "org.bluez.")
	}
	return names
}

func signalOf(x *dbus.Call) (*dbus.Signal, bool) {
	if x.Done != nil || len(x.Body) == 0 {
		return nil, false
	}
	s, ok := x.Body[0].(*dbus.Signal)
	return s, ok
}

// lines is the record since it was last read, once all that was begun has had its effect.
func (c *client) lines() []string {
	c.t.Helper()
	for range 2 {
		if _, e := c.call("/", "DBus.Peer.Ping"); e != "" {
			c.t.Fatal(e)
		}
		c.h.links.Sync()
		c.h.do(func() {})
	}
	ping := c.conn.Object("org.bluez", "/").Go("org.freedesktop.DBus.Peer.Ping", 0, c.ch)
	var out []string
	for {
		select {
		case x := <-c.ch:
			if x == ping {
				return out
			}
			if s, ok := signalOf(x); ok && s.Name == "org.freedesktop.DBus.NameAcquired" {
				continue
			}
			out = append(out, c.line(x))
		case <-time.After(patience):
			c.t.Fatalf("no answer; so far: %q", out)
		}
	}
}

// want compares the record.
func (c *client) want(lines ...string) {
	c.t.Helper()
	if diff := cmp.Diff(lines, c.lines()); diff != "" && len(lines)+len(diff) > 0 {
		c.t.Fatalf("the record differs (-want +got):\n%s", diff)
	}
}

// await waits for the next line of the record.
func (c *client) await(line string) {
	c.t.Helper()
	for {
		select {
		case x := <-c.ch:
			if s, ok := signalOf(x); ok && s.Name == "org.freedesktop.DBus.NameAcquired" {
				continue
			}
			if got := c.line(x); got != line {
				c.t.Fatalf("got %q, want %q", got, line)
			}
			return
		case <-time.After(patience):
			c.t.Fatalf("nothing came, want %q", line)
		}
	}
}

// check compares anything.
func check[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
