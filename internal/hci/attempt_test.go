package hci

import (
	"testing"
	"time"

	"bluez-esphome/internal/ble"
)

const (
	cancelCommand = "010e2000"
	cancelDone    = "040e04010e2000"
	cancelEvent   = "043e1301020000000001000101aa0000000000000000"
)

// TestEarly: the host is told within 4 s although the proxy takes longer, and ATT waits.
func TestEarly(t *testing.T) {
	run(t, func(r *rig) {
		r.advertise(device, "020106")
		r.ask(createConnection, connectionStatus)
		op := r.links.Next(t, "Connect")
		time.Sleep(connectWait - time.Millisecond)
		r.want()
		time.Sleep(time.Millisecond)
		r.want(connected)
		r.ask("011620024000", "040f0400011620", "043e0c040040000100000000000000") // works meanwhile
		r.ask("024000070003000400020502", "0413050140000100")
		time.Sleep(5 * time.Second)
		r.events.LinkUp(device, 247)
		op.End(nil)
		r.events.Resolved(device, &ble.Database{}, 247)
		r.want()
		if got := r.atts[0].got; len(got) != 2 || got[0] != "020502" || got[1] != "resolved" {
			t.Errorf("the ATT server got %q", got)
		}
	})
}

// TestEarlyFails: what was told early and did not come up ends with 3e; never is there an error event.
func TestEarlyFails(t *testing.T) {
	run(t, func(r *rig) {
		r.advertise(device, "020106")
		r.ask(createConnection, connectionStatus)
		op := r.links.Next(t, "Connect")
		time.Sleep(connectWait)
		r.want(connected)
		op.End(errAny)
		r.want("0405040040003e")
		if !r.atts[0].closed || !r.smps[0].closed {
			t.Error("the servers of the link are not closed")
		}
	})
}

// TestFails: an attempt that fails before is silent, and the device is dialled again when it is heard again.
func TestFails(t *testing.T) {
	run(t, func(r *rig) {
		r.advertise(device, "020106")
		r.ask(createConnection, connectionStatus)
		r.links.Next(t, "Connect").End(errAny)
		r.want()
		r.links.None(t)
		time.Sleep(dialPause)
		r.want()
		r.links.Next(t, "Connect").End(errAny)
		r.ask(cancelCommand, cancelDone, cancelEvent)
		time.Sleep(time.Minute)
		r.want()
		r.links.None(t)
	})
}

// TestAbsent: a device that is not heard is not dialled, for however long, and is as soon as it is heard.
func TestAbsent(t *testing.T) {
	run(t, func(r *rig) {
		r.ask(createConnection, connectionStatus)
		time.Sleep(time.Minute)
		r.want()
		r.links.None(t)
		if listens, active := r.c.Wish(); !listens || active {
			t.Errorf("listens %v, active %v", listens, active)
		}
		r.advertise(other, "020106")
		r.links.None(t)
		r.advertise(device, "020106")
		op := r.links.Next(t, "Connect")
		if r.c.Wants() {
			t.Error("advertisements are wanted while it dials")
		}
		time.Sleep(connectWait)
		r.want(connected) // early again, for who waits longer than the kernel
		r.events.LinkUp(device, 23)
		op.End(nil)
		r.want()
	})
}

// TestAcceptList: with policy 1 any device of the list is connected, with the type of the list.
func TestAcceptList(t *testing.T) {
	const byList = "010d2019600060000100000000000000001800280000002a0000000000"
	run(t, func(r *rig) {
		r.ask("01112007015544332211c4", "040e0401112000")
		r.ask(byList, connectionStatus)
		r.ask("01102000", "040e040110200c") // in use
		r.advertise(device, "020106")
		r.links.None(t)
		r.advertise(other, "020106")
		op := r.links.Next(t, "Connect")
		if op.Addr != other || op.Type != ble.Random {
			t.Errorf("connects to %v, type %v", op.Addr, op.Type)
		}
		r.events.LinkUp(other, 23)
		op.End(nil)
		r.want("043e1301004000" + "00015544332211c4" + "280000002a0000")
	})
}

// TestCancel: a link that comes up all the same after the cancel is not the host's, and the next attempt is another.
func TestCancel(t *testing.T) {
	run(t, func(r *rig) {
		r.advertise(device, "020106")
		r.ask(createConnection, connectionStatus)
		first := r.links.Next(t, "Connect")
		r.ask(cancelCommand, cancelDone, cancelEvent)
		r.links.Next(t, "CancelConnect")
		r.events.LinkUp(device, 247) // it was on its way
		r.ask(createConnection, connectionStatus)
		second := r.links.Next(t, "Connect")
		first.End(ble.ErrCanceled)
		r.events.LinkDown(device, ble.DisconnectLocal)
		r.want()
		r.events.LinkUp(device, 247)
		second.End(nil)
		r.want(connected)
	})
}

// TestLimits: no slot, a link that there is, a pending attempt and bad parameters are refused by the status, the only
// refusal that the kernel takes well.
func TestLimits(t *testing.T) {
	run(t, func(r *rig) {
		r.air.full = true
		r.ask(createConnection, "040f0409010d20")
		r.air.linked[device] = true // it can be joined
		r.ask(createConnection, connectionStatus)
		r.ask(createConnection, "040f040c010d20")
		r.ask(cancelCommand, cancelDone, cancelEvent)
		r.ask("010d201960006000000001000101aa00012800180000002a0000000000", "040f0412010d20") // no random address
		r.ask("010d201960006000000001000101aa00002800180000002a0000000000", "040f0412010d20") // min > max
	})
}

// TestReasons: how links end is told as the contract has it.
func TestReasons(t *testing.T) {
	for reason, want := range map[ble.DisconnectReason]string{
		ble.DisconnectTimeout: "08", ble.DisconnectRemote: "13", ble.DisconnectUnknown: "08", ble.DisconnectAuthentication: "05",
	} {
		run(t, func(r *rig) {
			r.connect()
			r.events.LinkDown(device, reason)
			r.want(linkLost[:12] + want)
			r.events.Notified(device, 3, []byte{1}) // late
			r.ask("024000070003000400020502")       // and what the host still sends: no credit, no answer
			if got := r.atts[0].got; len(got) != 1 {
				t.Errorf("the ATT server got %q", got)
			}
		})
	}
}

// TestDisconnect: the host's own disconnection is answered at once; what the proxy says of it later is nothing.
func TestDisconnect(t *testing.T) {
	run(t, func(r *rig) {
		r.connect()
		r.ask("01060403400013", "040f0400010604", "04050400400016")
		r.links.Next(t, "Disconnect")
		r.ask(createConnection, connectionStatus)
		op := r.links.Next(t, "Connect")
		time.Sleep(connectWait)
		second := "043e1301004100" + connected[14:]
		r.want(second)
		r.events.LinkDown(device, ble.DisconnectLocal) // of the first
		r.want()
		r.events.LinkUp(device, 100)
		op.End(nil)
		r.want()
		r.events.LinkDown(device, ble.DisconnectRemote)
		r.want("04050400410013")
	})
}

// TestReset: links are let go of without an event.
func TestReset(t *testing.T) {
	run(t, func(r *rig) {
		r.connect()
		r.ask("01030c00", "040e0401030c00")
		r.links.Next(t, "Close")
		r.events.LinkDown(device, ble.DisconnectLocal)
		r.want()
		r.ask("011620024000", "040f0402011620")
		r.connect2()
		if r.holds != 2 {
			t.Errorf("%d holds", r.holds)
		}
	})
}

// TestHostLeaves: with its connection everything of a host ends; the next one finds nothing of it.
func TestHostLeaves(t *testing.T) {
	run(t, func(r *rig) {
		r.connect()
		r.ask("010c20020101", "040e04010c2000")
		_ = r.host.Close()
		r.heard()
		r.links.Next(t, "Close")
		if r.c.Wants() || len(r.c.Status().Links) != 0 || r.c.Status().Host != "" {
			t.Errorf("left: %+v", r.c.Status())
		}
	})
}
