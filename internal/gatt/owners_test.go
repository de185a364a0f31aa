package gatt_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

// party is one owner and what it was told.
type party struct {
	*gatt.Owner
	name string
	w    *world
	s    *gatt.Owners
}

func (p *party) LinkUp(_ ble.Address, mtu int) { p.w.log("%s up %d", p.name, mtu) }
func (p *party) Resolved(_ ble.Address, db *ble.Database, _ int) {
	p.w.log("%s resolved %d", p.name, len(db.Services))
}
func (p *party) LinkDown(_ ble.Address, r ble.DisconnectReason) { p.w.log("%s down %d", p.name, r) }
func (p *party) Notified(_ ble.Address, h uint16, v []byte) {
	p.w.log("%s notified %d %s", p.name, h, v)
}
func (p *party) DatabaseChanged(ble.Address, *ble.Database) { p.w.log("%s changed", p.name) }
func (p *party) Paired(_ ble.Address, bonded bool)          { p.w.log("%s paired %v", p.name, bonded) }

func (p *party) Unsubscribed(_ ble.Address, h uint16, err error) {
	p.w.log("%s unsubscribed %d: %v", p.name, h, err)
}

func (p *party) connect(a ble.Address) error {
	res := make(chan error, 1)
	p.Connect(a, ble.Public, "", func(err error) {
		p.w.log("%s done %v", p.name, err)
		res <- err
	})
	err := <-res
	synctest.Wait()
	return err
}

func (p *party) disconnect(a ble.Address) {
	res := make(chan struct{})
	p.Disconnect(a, func() { close(res) })
	<-res
	synctest.Wait()
}

func (p *party) readValue(a ble.Address, h uint16) (string, error) {
	var value []byte
	res := make(chan error, 1)
	p.Do(a, ble.Operation{Kind: ble.OpRead, Handle: h}, func(v []byte, err error) { value = v; res <- err })
	err := <-res
	return string(value), err
}

func (p *party) subscribeTo(a ble.Address, h uint16) error {
	res := make(chan error, 1)
	p.Subscribe(a, h, func(err error) { res <- err })
	return <-res
}

// owned runs f with a proxy "p" that hears the thermometer, and with two owners: bus keeps its subscriptions, host does
// not.
func owned(t *testing.T, exclusive bool, f func(t *testing.T, w *world, proxy *gatttest.Proxy, bus, host *party)) {
	t.Helper()
	ownedWith(t, gatt.Config{}, exclusive, f)
}

func ownedWith(t *testing.T, cfg gatt.Config, exclusive bool, f func(t *testing.T, w *world, proxy *gatttest.Proxy, bus, host *party)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		per := thermometer(addrA)
		p := gatttest.New("p", per)
		w := &world{t: t, air: &air{paths: make(map[ble.Address][]gatt.Path)}}
		cfg.Air = w.air
		if cfg.Used != nil {
			cfg.Used = func(_ ble.Address, used bool) { w.log("used %v", used) }
		}
		s := gatt.NewOwners(cfg, exclusive)
		w.m = s.Manager()
		p.Sink = w.m
		w.m.AddProxy(p, gatt.HostsNone)
		w.m.ProxyOnline(p.Name())
		p.SendSlots()
		w.hears(addrA, "p")
		parties := make([]*party, 2)
		for i, name := range []string{"bus", "host"} {
			parties[i] = &party{name: name, w: w}
			parties[i].s = s
			parties[i].Owner = s.Owner(gatt.OwnerConfig{Name: name, Party: name, Guest: i == 1, Events: parties[i], KeepSubscriptions: i == 0})
		}
		f(t, w, p, parties[0], parties[1])
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		w.m.Close(ctx)
		synctest.Wait()
	})
}

func (w *world) told(what string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.take()); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// A link is each owner's from its Connect to its Disconnect, and ends with the last one.
func TestOwnersShareALink(t *testing.T) {
	owned(t, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
		if err := bus.connect(addrA); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		w.told("bus connects", "bus up 247", "bus done <nil>", "bus resolved 2")
		if _, err := host.readValue(addrA, 6); !errors.Is(err, ble.ErrNotConnected) {
			t.Errorf("host reads without a link of its own: %v", err)
		}
		if err := host.connect(addrA); err != nil {
			t.Fatal(err)
		}
		w.told("host joins", "host up 247", "host done <nil>", "host resolved 2")
		if !bus.Shared(addrA) {
			t.Error("not shared")
		}
		for _, o := range []*party{bus, host} {
			if v, err := o.readValue(addrA, 6); v != "21.5" || err != nil {
				t.Errorf("%s reads %q, %v", o.name, v, err)
			}
		}
		if got := bus.s.Holders(addrA); !slices.Equal(got, []string{"bus", "host"}) {
			t.Errorf("held by %q", got)
		}
		bus.disconnect(addrA)
		w.told("bus leaves", "bus down 2")
		if got := bus.s.Holders(addrA); !slices.Equal(got, []string{"host"}) {
			t.Errorf("held by %q after bus left", got)
		}
		if v, err := host.readValue(addrA, 6); v != "21.5" || err != nil {
			t.Errorf("host reads %q, %v after bus left", v, err)
		}
		host.disconnect(addrA)
		w.told("host leaves", "host down 2")
		if s := p.Slots(); len(s.Allocated) != 0 {
			t.Errorf("the link is up without an owner: %v", s.Allocated)
		}
	})
}

// Each owner is told of what it subscribed; the peripheral is asked once and told of the end once.
func TestOwnersSubscribe(t *testing.T) {
	owned(t, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
		for _, o := range []*party{bus, host} {
			if err := o.connect(addrA); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
		}
		for _, sub := range []struct {
			o *party
			h uint16
		}{{bus, 8}, {host, 8}, {host, 11}} {
			if err := sub.o.subscribeTo(addrA, sub.h); err != nil {
				t.Fatal(err)
			}
		}
		w.take()
		w.m.Notification("p", addrA, 8, []byte("x"))
		w.m.Notification("p", addrA, 11, []byte("y"))
		w.told("notifications", "bus notified 8 x", "host notified 8 x", "host notified 11 y")
		before := len(p.Calls())
		host.Unsubscribe(addrA, 8)
		settle(time.Second)
		if calls := p.Calls()[before:]; len(calls) != 0 {
			t.Errorf("bus still wants it, yet: %v", calls)
		}
		host.Close()
		settle(time.Second)
		w.m.Notification("p", addrA, 8, []byte("z"))
		w.told("after host left", "bus notified 8 z")
		if calls := p.Calls()[before:]; len(calls) == 0 {
			t.Error("what only host wanted was not ended")
		}
		if v, err := bus.readValue(addrA, 6); v != "21.5" || err != nil {
			t.Errorf("bus reads %q, %v after host left", v, err)
		}
	})
}

// A subscription that outlives the owner's hold is armed when it joins the link of another.
func TestOwnersRejoin(t *testing.T) {
	owned(t, false, func(t *testing.T, w *world, _ *gatttest.Proxy, bus, host *party) {
		for _, o := range []*party{bus, host} {
			if err := o.connect(addrA); err != nil {
				t.Fatal(err)
			}
		}
		settle(time.Second)
		if err := bus.subscribeTo(addrA, 8); err != nil {
			t.Fatal(err)
		}
		bus.disconnect(addrA)
		w.take()
		w.m.Notification("p", addrA, 8, []byte("x"))
		w.told("bus is away")
		if err := bus.connect(addrA); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		w.take()
		w.m.Notification("p", addrA, 8, []byte("y"))
		w.told("bus is back", "bus notified 8 y")
	})
}

// One owner's end of an attempt does not end it for the other, and a lost link is everybody's loss.
func TestOwnersDial(t *testing.T) {
	owned(t, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
		done := make(chan struct{}, 2)
		for _, o := range []*party{bus, host} {
			o.Connect(addrA, ble.Public, "", func(err error) {
				w.log("%s done %v", o.name, err)
				done <- struct{}{}
			})
		}
		bus.CancelConnect(addrA)
		<-done
		<-done
		settle(time.Second)
		w.told("bus gives up", "bus done canceled", "host up 247", "host done <nil>", "host resolved 2")
		if err := bus.connect(addrA); err != nil {
			t.Fatal(err)
		}
		w.take()
		w.m.LinkReport("p", addrA, false, 0, 0x13)
		settle(time.Second)
		got := w.take()
		slices.Sort(got)
		if diff := cmp.Diff([]string{"bus down 3", "host down 3"}, got); diff != "" {
			t.Errorf("link lost (-want +got):\n%s", diff)
		}
	})
}

// Where owners are exclusive the second one is refused until the first lets go.
func TestOwnersExclusive(t *testing.T) {
	owned(t, true, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
		if err := bus.connect(addrA); err != nil {
			t.Fatal(err)
		}
		var ce *ble.ConnectError
		if err := host.connect(addrA); !errors.As(err, &ce) || ce.Failure != ble.ConnectRefused {
			t.Errorf("host gets %v", err)
		}
		bus.disconnect(addrA)
		if err := host.connect(addrA); err != nil {
			t.Error(err)
		}
	})
}

// Pairing by one owner is news to the others, and so is the end of the bond.
func TestOwnersPair(t *testing.T) {
	owned(t, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
		if err := host.connect(addrA); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		w.take()
		res := make(chan error, 1)
		host.Pair(addrA, func(err error) { res <- err })
		if err := <-res; err != nil {
			t.Fatal(err)
		}
		w.told("paired", "bus paired true")
		if err := host.Unpair(t.Context(), addrA, "p"); err != nil {
			t.Fatal(err)
		}
		w.told("unpaired", "bus paired false")
	})
}

// However much one owner asks for, another waits for one operation of it (issue 17, R8).
func TestOwnersTakeTurns(t *testing.T) {
	owned(t, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
		for _, o := range []*party{bus, host} {
			if err := o.connect(addrA); err != nil {
				t.Fatal(err)
			}
		}
		settle(time.Second)
		p.SetReadDelay(addrA, 50*time.Millisecond)
		alone := time.Now()
		if _, err := bus.readValue(addrA, 6); err != nil {
			t.Fatal(err)
		}
		undisturbed := time.Since(alone)
		var ends atomic.Bool
		var again func([]byte, error)
		again = func([]byte, error) {
			if !ends.Load() {
				host.Do(addrA, ble.Operation{Kind: ble.OpRead, Handle: 3}, again)
			}
		}
		for range 64 {
			again(nil, nil)
		}
		settle(time.Second)
		for range 100 {
			begun := time.Now()
			if _, err := bus.readValue(addrA, 6); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took > 2*undisturbed {
				t.Fatalf("a read takes %v beside 64 of another party, alone %v", took, undisturbed)
			}
		}
		ends.Store(true)
		settle(time.Minute)
	})
}
