package gatt_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt/gatttest"
)

func (p *party) write(a ble.Address, kind ble.OperationKind, h uint16, v ...byte) error {
	res := make(chan error, 1)
	p.Do(a, ble.Operation{Kind: kind, Handle: h, Value: v}, func(_ []byte, err error) { res <- err })
	return <-res
}

// together connects the two parties and forgets what they were told.
func together(t *testing.T, w *world, parties ...*party) {
	t.Helper()
	for _, o := range parties {
		if err := o.connect(addrA); err != nil {
			t.Fatal(err)
		}
	}
	settle(time.Second)
	w.take()
}

// notifies checks who is told of a value now.
func (w *world) notifies(what string, h uint16, want ...string) {
	w.t.Helper()
	w.take()
	w.m.Notification("p", addrA, h, []byte("v"))
	var all []string
	for _, name := range want {
		all = append(all, fmt.Sprintf("%s notified %d v", name, h))
	}
	w.told(what, all...)
}

// A subscription that outlives its owner's hold is there on each link that the owner holds, whoever shared the links
// before (issue 16).
func TestOwnersKeepSubscriptions(t *testing.T) {
	owned(t, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
		together(t, w, bus, host)
		if err := bus.subscribeTo(addrA, 8); err != nil {
			t.Fatal(err)
		}
		bus.disconnect(addrA)
		host.disconnect(addrA)
		settle(time.Second)
		if err := bus.connect(addrA); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		if got := p.Stands(addrA, 9); got != 1 {
			t.Errorf("the CCCD has %04x after bus came back", got)
		}
		w.notifies("bus came back", 8, "bus")
		bus.disconnect(addrA)
		settle(time.Second)
		// Subscribed while only the other holds the link.
		together(t, w, host)
		if err := bus.subscribeTo(addrA, 11); err != nil {
			t.Fatal(err)
		}
		w.notifies("bus does not hold the link", 11)
		host.disconnect(addrA)
		settle(time.Second)
		together(t, w, bus)
		w.notifies("bus alone", 11, "bus")
		if got := p.Stands(addrA, 12); got != 2 {
			t.Errorf("the CCCD has %04x on the link of bus alone", got)
		}
	})
}

// Who joins a link is told that it is resolved when what it subscribed is armed.
func TestOwnersRejoinIsArmedBeforeResolved(t *testing.T) {
	owned(t, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
		together(t, w, host)
		if err := bus.subscribeTo(addrA, 8); err != nil {
			t.Fatal(err)
		}
		p.OnCall = func(call string) { w.log("%s", call) }
		if err := bus.connect(addrA); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		a := addrA.String()
		got := w.take()
		order := []string{"bus up 247", "bus done <nil>", "notify " + a + " 8 true", "write-descriptor " + a + " 9 0100", "bus resolved 2"}
		slices.Sort(got[:len(got)-1]) // the air and the answer to Connect are not in order
		slices.Sort(order[:len(order)-1])
		if !slices.Equal(got, order) {
			t.Errorf("told %q", got)
		}
	})
}

// A CCCD has the union of what its parties want: nobody's write of it, whatever the value, ends another's notifications
// (issue 17, R6).
func TestOwnersCCCD(t *testing.T) {
	for _, tc := range []struct {
		value []byte
		want  error
	}{
		{[]byte{0, 0}, nil}, {[]byte{1, 0}, nil}, {[]byte{2, 0}, nil}, {[]byte{3, 0}, nil},
		{[]byte{4, 0}, ble.ATTError(0xfd)}, {[]byte{0, 1}, ble.ATTError(0xfd)}, {[]byte{0xff, 0xff}, ble.ATTError(0xfd)},
		{[]byte{}, ble.ATTInvalidLength}, {[]byte{0}, ble.ATTInvalidLength}, {[]byte{0, 0, 0}, ble.ATTInvalidLength},
	} {
		for _, kind := range []ble.OperationKind{ble.OpWriteDescriptor, ble.OpWrite, ble.OpWriteCommand} {
			t.Run(fmt.Sprintf("%v %x", kind, tc.value), func(t *testing.T) {
				owned(t, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
					together(t, w, bus, host)
					if err := bus.subscribeTo(addrA, 8); err != nil {
						t.Fatal(err)
					}
					if err := host.subscribeTo(addrA, 8); err != nil {
						t.Fatal(err)
					}
					if err := host.write(addrA, kind, 9, tc.value...); !errors.Is(err, tc.want) {
						t.Errorf("the write: %v, want %v", err, tc.want)
					}
					settle(time.Second)
					if got := p.Stands(addrA, 9); got&1 == 0 {
						t.Errorf("the CCCD has %04x: the notifications of bus ended", got)
					}
					host.Close()
					settle(time.Second)
					w.notifies("host is gone", 8, "bus")
					if got := p.Stands(addrA, 9); got != 1 {
						t.Errorf("the CCCD has %04x when only bus wants it", got)
					}
					bus.Unsubscribe(addrA, 8)
					settle(time.Second)
					if got := p.Stands(addrA, 9); got != 0 {
						t.Errorf("the CCCD has %04x when nobody wants it", got)
					}
				})
			})
		}
	}
}

// What one party asked for is not undone by the end of another's, in any order.
func TestOwnersUnion(t *testing.T) {
	owned(t, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
		together(t, w, bus, host)
		stands := func(what string, want uint16) {
			t.Helper()
			settle(time.Second)
			if got := p.Stands(addrA, 9); got != want {
				t.Errorf("%s: the CCCD has %04x, want %04x", what, got, want)
			}
		}
		if err := host.write(addrA, ble.OpWriteDescriptor, 9, 2, 0); err != nil {
			t.Fatal(err)
		}
		stands("host wants indications", 2)
		if err := bus.subscribeTo(addrA, 8); err != nil {
			t.Fatal(err)
		}
		stands("and bus notifications", 3)
		if err := host.write(addrA, ble.OpWriteDescriptor, 9, 0, 0); err != nil {
			t.Fatal(err)
		}
		stands("host wants nothing", 1)
		if err := host.write(addrA, ble.OpWriteDescriptor, 9, 3, 0); err != nil {
			t.Fatal(err)
		}
		stands("host wants both", 3)
		bus.disconnect(addrA)
		stands("bus is away", 3)
		if err := host.write(addrA, ble.OpWriteDescriptor, 9, 2, 0); err != nil {
			t.Fatal(err)
		}
		stands("host wants indications again", 2)
		together(t, w, bus)
		stands("bus is back", 3)
	})
}

// A subscription that cannot be made again on another link is said to be over, and StartNotify repairs it.
func TestOwnersUnarmed(t *testing.T) {
	owned(t, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, _ *party) {
		together(t, w, bus)
		if err := bus.subscribeTo(addrA, 8); err != nil {
			t.Fatal(err)
		}
		bus.disconnect(addrA)
		p.SetRefused(addrA, 9, ble.ATTWriteNotPermitted)
		w.take()
		if err := bus.connect(addrA); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		w.told("it is refused", "bus up 247", "bus done <nil>", "bus unsubscribed 8: "+ble.ATTWriteNotPermitted.Error(), "bus resolved 2")
		p.SetRefused(addrA, 9, 0)
		if err := bus.subscribeTo(addrA, 8); err != nil {
			t.Fatal(err)
		}
		w.notifies("subscribed again", 8, "bus")
		if got := p.Stands(addrA, 9); got != 1 {
			t.Errorf("the CCCD has %04x", got)
		}
	})
}
