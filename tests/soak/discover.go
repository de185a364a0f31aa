package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// discoverer discovers in turns, with filters of its own.
func (s *soak) discoverer(ctx context.Context, r *rand.Rand) {
	c, err := s.newClient("discoverer")
	if err != nil {
		s.found.add("discoverer", err.Error())
		return
	}
	defer c.conn.Close()
	heard := make(chan *dbus.Signal, 64)
	if err := c.conn.AddMatchSignal(dbus.WithMatchSender(bluez)); err != nil {
		s.found.add("discoverer", err.Error())
		return
	}
	c.conn.Signal(heard)
	go func() {
		for range heard {
			s.tally.add("signals to the discoverer", 1)
		}
	}()
	for n := 0; ctx.Err() == nil; n++ {
		filter := map[string]dbus.Variant{"Transport": dbus.MakeVariant("le")}
		switch n % 3 {
		case 1:
			filter["RSSI"] = dbus.MakeVariant(int16(-60 - r.IntN(30)))
		case 2:
			filter["DuplicateData"] = dbus.MakeVariant(false)
		}
		c.plain(ctx, adapterPath, adapterIface+".SetDiscoveryFilter", nil, filter)
		if !c.plain(ctx, adapterPath, adapterIface+".StartDiscovery", nil) || !pause(ctx, time.Duration(20+r.IntN(40))*time.Second) {
			return
		}
		c.plain(ctx, adapterPath, adapterIface+".StopDiscovery", nil)
		if !pause(ctx, time.Duration(5+r.IntN(15))*time.Second) {
			return
		}
	}
}

// tree is the objects and their interfaces.
type tree map[dbus.ObjectPath][]string

// mirror follows the tree by its signals and holds it against GetManagedObjects: both come in the same order to
// everybody, so at the reply the two are the same.
type mirror struct {
	*client

	mu     sync.Mutex
	now    tree
	asked  uint32 // serial of the call
	size   int
	differ []string
}

func newMirror(s *soak) *mirror {
	m := &mirror{}
	c, err := s.newClient("mirror", dbus.WithIncomingInterceptor(m.incoming), dbus.WithOutgoingInterceptor(m.outgoing))
	if err == nil {
		m.client = c
		for _, member := range []string{"InterfacesAdded", "InterfacesRemoved"} {
			if err == nil {
				err = c.conn.AddMatchSignal(dbus.WithMatchSender(bluez), dbus.WithMatchInterface(objectManager), dbus.WithMatchMember(member))
			}
		}
	}
	if err != nil {
		s.found.add("mirror", err.Error())
		return nil
	}
	return m
}

func (m *mirror) outgoing(msg *dbus.Message) {
	if msg.Headers[dbus.FieldMember].Value() == "GetManagedObjects" {
		m.mu.Lock()
		m.asked = msg.Serial()
		m.mu.Unlock()
	}
}

// incoming sees every message in the order of arrival.
func (m *mirror) incoming(msg *dbus.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch msg.Type {
	case dbus.TypeSignal:
		if m.now == nil || len(msg.Body) != 2 {
			return
		}
		path, _ := msg.Body[0].(dbus.ObjectPath)
		switch msg.Headers[dbus.FieldMember].Value() {
		case "InterfacesAdded":
			added, _ := msg.Body[1].(map[string]map[string]dbus.Variant)
			m.now[path] = append(m.now[path], keys(added)...)
			slices.Sort(m.now[path])
		case "InterfacesRemoved":
			removed, _ := msg.Body[1].([]string)
			m.now[path] = slices.DeleteFunc(m.now[path], func(i string) bool { return slices.Contains(removed, i) })
			if len(m.now[path]) == 0 {
				delete(m.now, path)
			}
		}
	case dbus.TypeMethodReply:
		if serial, _ := msg.Headers[dbus.FieldReplySerial].Value().(uint32); serial != m.asked || serial == 0 || len(msg.Body) != 1 {
			return
		}
		got, _ := msg.Body[0].(map[dbus.ObjectPath]map[string]map[string]dbus.Variant)
		is := tree{}
		for path, ifaces := range got {
			is[path] = keys(ifaces)
			slices.Sort(is[path])
		}
		if m.now != nil {
			m.compare(is)
		}
		m.now, m.size = is, len(is)
	}
}

func (m *mirror) compare(is tree) {
	for path, ifaces := range is {
		if !slices.Equal(m.now[path], ifaces) {
			m.differ = append(m.differ, fmt.Sprintf("%s has %v, by its signals %v", path, ifaces, m.now[path]))
		}
	}
	for path, ifaces := range m.now {
		if is[path] == nil {
			m.differ = append(m.differ, fmt.Sprintf("%s is gone, by its signals it has %v", path, ifaces))
		}
	}
}

// look asks for the tree, and gives its number of objects.
func (m *mirror) look(ctx context.Context) int {
	if !m.plain(ctx, "/", objectManager+".GetManagedObjects", nil) {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.differ {
		m.s.found.add("mirror", d)
	}
	m.differ = nil
	m.s.tally.add("trees compared with their signals", 1)
	return m.size
}

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}
