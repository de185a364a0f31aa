package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// clients starts the ten: three that listen to four devices each, one through descriptors, one that visits devices, one
// that dies with everything open, two that discover, and two with bleak. It gives the one that mirrors the tree.
func (s *soak) clients(ctx context.Context, wg *sync.WaitGroup) *mirror {
	for i, name := range []string{"listener 1", "listener 2", "listener 3", "descriptors"} {
		wg.Go(func() { s.listener(ctx, name, 4*i, i == 3, s.rand(uint64(10+i))) })
	}
	wg.Go(func() { s.visitor(ctx, s.rand(20)) })
	wg.Go(func() { s.dying(ctx, s.rand(21)) })
	wg.Go(func() { s.discoverer(ctx, s.rand(22)) })
	wg.Go(func() { s.bleak(ctx, "scan", "") })
	wg.Go(func() { s.bleak(ctx, "notify", linkAddress(firstBleak).String()) })
	m := newMirror(s)
	if m != nil {
		wg.Go(func() {
			<-ctx.Done()
			_ = m.conn.Close()
		})
	}
	return m
}

// Which peripherals are whose: 0 to 15 are the listeners'.
const (
	firstVisited = 16
	firstBleak   = 22
	firstDying   = 24
	held         = 16
)

// listener holds four devices for good.
func (s *soak) listener(ctx context.Context, name string, first int, pipe bool, r *rand.Rand) {
	c, err := s.newClient(name)
	if err != nil {
		s.found.add(name, err.Error())
		return
	}
	defer c.conn.Close()
	var paths []dbus.ObjectPath
	for i := range 4 {
		paths = append(paths, linkPath(first+i))
	}
	if err := c.watch(paths...); err != nil {
		s.found.add(name, err.Error())
		return
	}
	var wg sync.WaitGroup
	for i, p := range paths {
		wg.Go(func() { c.hold(ctx, c.links[p], rand.New(rand.NewPCG(r.Uint64(), uint64(i))), pipe) })
	}
	wg.Wait()
}

// visitor connects to one device after another, reads and leaves.
func (s *soak) visitor(ctx context.Context, r *rand.Rand) {
	c, err := s.newClient("visitor")
	if err != nil {
		s.found.add("visitor", err.Error())
		return
	}
	defer c.conn.Close()
	var paths []dbus.ObjectPath
	for i := firstVisited; i < firstBleak; i++ {
		paths = append(paths, linkPath(i))
	}
	if err := c.watch(paths...); err != nil {
		s.found.add("visitor", err.Error())
		return
	}
	for pause(ctx, time.Duration(1+r.IntN(4))*time.Second) {
		l := c.links[paths[r.IntN(len(paths))]]
		if !c.known(ctx, l) || !c.connect(ctx, l) {
			continue
		}
		lost := c.losses(l)
		for range 3 {
			var v []byte
			if !c.read(ctx, l, lost, &v) {
				break
			}
		}
		if err := c.call(ctx, l.path, deviceIface+".Disconnect", linkTimeout).Err; err != nil && ctx.Err() == nil {
			c.s.failed("Disconnect", err)
		} else if ctx.Err() == nil && !c.await(ctx, l, callTimeout, func() bool { return !l.connected }) {
			s.found.add("visitor", string(l.path)+" is still connected after Disconnect")
		}
		s.tally.add("visits", 1)
	}
}

// dyingEvery is how often a client leaves without a word.
const dyingEvery = 10 * time.Second

// dying connects, subscribes, discovers, and drops its socket.
func (s *soak) dying(ctx context.Context, r *rand.Rand) {
	for pause(ctx, dyingEvery) {
		c, err := s.newClient("dying")
		if err != nil {
			s.found.add("dying", err.Error())
			continue
		}
		path := linkPath(firstDying + r.IntN(linked-firstDying))
		c.plain(ctx, adapterPath, adapterIface+".SetDiscoveryFilter", nil, map[string]dbus.Variant{"RSSI": dbus.MakeVariant(int16(-90))})
		c.plain(ctx, adapterPath, adapterIface+".StartDiscovery", nil)
		obj := c.conn.Object(bluez, path)
		obj.Go(deviceIface+".Connect", 0, nil)
		if pause(ctx, time.Duration(r.IntN(4000))*time.Millisecond) {
			obj.Go(deviceIface+".Connect", 0, nil)
			c.conn.Object(bluez, path+numbersPath).Go(charIface+".StartNotify", 0, nil)
			c.conn.Object(bluez, path+numbersPath).Go(charIface+".AcquireNotify", 0, nil, map[string]dbus.Variant{})
			pause(ctx, time.Duration(r.IntN(500))*time.Millisecond)
		}
		_ = c.conn.Close()
		s.tally.add("clients that died", 1)
		// Connections outlive clients, as with bluetoothd: another one ends it.
		if d, err := s.newClient("dying"); err == nil {
			_ = d.call(ctx, path, deviceIface+".Disconnect", linkTimeout)
			_ = d.conn.Close()
		}
	}
}
