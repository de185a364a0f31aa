package replay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// player plays one recording.
type player struct {
	*world
	golden, ours *norm
	step         int
	head         string         // the step's action
	mark         bool           // the step began with a mark: what came just before it counts too
	seen         map[string]int // facts and the last step in which they came
	claimed      map[string]bool
	surplus      []string
	calls        map[*dbus.Call]any // the recording's ids
	fd           int                // an acquired descriptor, or -1
	write        bool               // the descriptor is for writing, and nothing was written yet
	facts        int
}

func newPlayer(t *testing.T, r *recording, before int) *player {
	t.Helper()
	w := newWorld(t)
	all := encode(w.call(hci0, properties+".GetAll", adapter1).Body[0]).(map[string]any)
	p := &player{
		world: w, golden: newNorm(r.Devices, r.Adapter), ours: newNorm(r.Devices, all),
		seen: map[string]int{}, claimed: map[string]bool{}, calls: map[*dbus.Call]any{}, fd: -1, write: r.Scenario == "acquire_write",
	}
	for _, property := range []string{"Connectable", "Pairable"} { // as the scenarios that were played before left them
		v, _ := r.Adapter[property].(map[string]any)
		p.call(hci0, properties+".Set", adapter1, property, dbus.MakeVariant(v["value"]))
	}
	switch before {
	case found:
		p.found(r.dev())
	case connected:
		p.connected(r.dev())
	}
	p.drain()
	return p
}

// drain forgets what has come until now.
func (p *player) drain() {
	p.call("/", "org.freedesktop.DBus.Peer.Ping")
	for {
		select {
		case <-p.arrived:
		default:
			return
		}
	}
}

// play plays the events and gives the number of steps.
func (p *player) play(events []event) int {
	p.t.Helper()
	numbers := map[any]int{} // of the calls
	for _, e := range events {
		switch e["type"] {
		case "call", "peripheral", "mark":
			p.step++
			p.head, p.mark = describe(e), e["type"] == "mark"
			if e["type"] == "call" {
				numbers[e["id"]] = len(numbers) + 1
			}
			p.act(e)
		case "signal":
			for _, f := range p.golden.signal(e) {
				p.expect(f)
			}
		case "reply":
			p.expect(fmt.Sprintf("reply %v: %s", e["id"], p.golden.reply(e)))
		case "objects":
			p.objects(e)
		case "peripheral-status":
			p.status(e)
		case "fd", "fd-packet", "fd-empty":
			p.descriptor(e)
		default:
			p.t.Fatalf("cannot play %v", e)
		}
	}
	p.call("/", "org.freedesktop.DBus.Peer.Ping")
	p.receive(0)
	for _, s := range p.surplus {
		if fact, _, _ := strings.Cut(s, "  @ "); !p.claimed[fact] && !isExcused(fact, true) {
			p.t.Errorf("+ %s", s)
		}
	}
	if p.fd >= 0 {
		_ = unix.Close(p.fd)
	}
	return p.step
}

func describe(e event) string {
	for _, k := range []string{"member", "op", "label"} {
		if e[k] != nil {
			return fmt.Sprintf("%v %v %s", e["type"], e[k], text(e["args"]))
		}
	}
	return fmt.Sprint(e["type"])
}

// act does what the client or the peripheral did.
func (p *player) act(e event) {
	p.t.Helper()
	switch e["type"] {
	case "call":
		name, _ := e["client"].(string)
		if name == "" {
			name = "a"
		}
		object := p.client(name).Object("org.bluez", dbus.ObjectPath(e["path"].(string)))
		c := object.Go(fmt.Sprintf("%s.%s", e["interface"], e["member"]), 0, p.arrived, arguments(p.t, e["args"])...)
		p.calls[c] = e["id"]
	case "peripheral":
		if p.write && e["op"] == "status" { // what the driver sends through the descriptor is not recorded
			p.write = false
			for _, packet := range []string{"\x21\x22", "\x23"} {
				if _, err := unix.Write(p.fd, []byte(packet)); err != nil {
					p.t.Fatal(err)
				}
			}
		}
		if err := p.peripheral(e); err != nil {
			p.t.Fatal(err)
		}
	case "mark":
		label, _ := e["label"].(string)
		var name string
		switch {
		case label == "fd closed by the client":
			_ = unix.Close(p.fd)
			p.fd = -1
		default:
			if n, _ := fmt.Sscanf(label, "client %s leaves the bus", &name); n == 1 {
				_ = p.client(name).Close()
			}
		}
	}
}

// replyEvent is a call's reply as an event.
func replyEvent(c *dbus.Call) event {
	var e dbus.Error
	switch {
	case errors.As(c.Err, &e):
		message := ""
		if len(e.Body) > 0 {
			message, _ = e.Body[0].(string)
		}
		return event{"error": e.Name, "message": message}
	case c.Err != nil:
		return event{"error": c.Err.Error()}
	}
	return event{"value": encodeAll(c.Body)}
}

// note keeps what arrived.
func (p *player) note(c *dbus.Call) {
	var facts []string
	if id, ok := p.calls[c]; ok {
		delete(p.calls, c)
		facts = []string{fmt.Sprintf("reply %v: %s", id, p.ours.reply(replyEvent(c)))}
		for _, v := range c.Body {
			if fd, ok := v.(dbus.UnixFD); ok {
				p.fd = int(fd)
			}
		}
	} else if s, ok := c.Body[0].(*dbus.Signal); ok && len(c.Body) == 1 && !strings.HasPrefix(s.Name, "org.freedesktop.DBus.Name") {
		dot := strings.LastIndexByte(s.Name, '.')
		facts = p.ours.signal(event{"interface": s.Name[:dot], "member": s.Name[dot+1:], "path": string(s.Path), "args": encodeAll(s.Body)})
	}
	for _, f := range facts {
		p.seen[f] = p.step
		if !p.claimed[f] {
			p.surplus = append(p.surplus, f+"  @ "+p.head)
		}
	}
}

// receive takes what has arrived. If nothing has, it waits for at most the given time. It reports whether something
// came.
func (p *player) receive(wait time.Duration) bool {
	came := false
	for {
		select {
		case c := <-p.arrived:
			p.note(c)
			came = true
			continue
		default:
		}
		if came || wait == 0 {
			return came
		}
		select {
		case c := <-p.arrived:
			p.note(c)
			came = true
		case <-time.After(wait):
			return false
		}
	}
}

// expect waits for a fact of this step.
func (p *player) expect(fact string) {
	p.t.Helper()
	p.facts++
	if isExcused(fact, false) {
		return
	}
	first := p.step
	if p.mark {
		first--
	}
	deadline := time.Now().Add(patience)
	for {
		if at, ok := p.seen[fact]; ok && at >= first {
			p.claimed[fact] = true
			return
		}
		if !p.receive(time.Until(deadline)) {
			p.t.Fatalf("- %s  @ %s\nunclaimed:\n%s", fact, p.head, strings.Join(p.surplus, "\n"))
		}
	}
}

// settle tries until check finds nothing wrong.
func (p *player) settle(what string, check func() []string) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		p.receive(0)
		wrong := check()
		if len(wrong) == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Errorf("%s  @ %s:\n%s", what, p.head, strings.Join(wrong, "\n"))
			return
		}
		p.receive(20 * time.Millisecond)
	}
}

func (p *player) objects(e event) {
	p.t.Helper()
	label, _ := e["label"].(string)
	theirs := p.golden.objects(label, e["objects"].(map[string]any))
	p.facts += len(theirs)
	p.settle("objects", func() []string {
		return differences(theirs, p.ours.objects(label, p.snapshot()))
	})
}

func differences(theirs, ours []string) (out []string) {
	for _, f := range theirs {
		if _, found := slices.BinarySearch(ours, f); !found && !isExcused(f, false) {
			out = append(out, "- "+f)
		}
	}
	for _, f := range ours {
		if _, found := slices.BinarySearch(theirs, f); !found && !isExcused(f, true) {
			out = append(out, "+ "+f)
		}
	}
	return out
}

func (p *player) status(e event) {
	p.t.Helper()
	want := fmt.Sprint(e["connections"], e["advertising"], e["subscriptions"], text(e["writes"]))
	p.facts++
	p.settle("status", func() []string {
		s, err := p.air.Status("main")
		if err != nil {
			return []string{err.Error()}
		}
		writes := []any{}
		for _, w := range s.Writes {
			writes = append(writes, w)
		}
		if got := fmt.Sprint(s.Connections, s.Advertising, s.Subscriptions, text(writes)); got != want {
			return []string{"- " + want, "+ " + got}
		}
		return nil
	})
}

// descriptor checks the properties of an acquired descriptor, and what comes through it.
func (p *player) descriptor(e event) {
	p.t.Helper()
	p.facts++
	buf := make([]byte, 600)
	switch e["type"] {
	case "fd":
		kind, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil || fmt.Sprint(kind) != fmt.Sprint(e["socktype"]) {
			p.t.Errorf("a socket of type %d, %v; want %v", kind, err, e["socktype"])
		}
	case "fd-packet":
		p.settle("packet", func() []string {
			n, _, err := unix.Recvfrom(p.fd, buf, unix.MSG_DONTWAIT)
			if got := fmt.Sprintf("%x", buf[:max(n, 0)]); err != nil || got != e["value"] {
				return []string{fmt.Sprintf("- %v\n+ %s, %v", e["value"], got, err)}
			}
			return nil
		})
	case "fd-empty":
		if n, _, err := unix.Recvfrom(p.fd, buf, unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
			p.t.Errorf("the descriptor delivers %d bytes, %v", n, err)
		}
	}
}
