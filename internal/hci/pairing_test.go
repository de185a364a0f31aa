package hci

import (
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/smp"
)

// aclOf is an ACL packet of the host on the link 0x0040.
func aclOf(channel byte, pdu string) string {
	n := len(pdu) / 2
	return "02" + "4000" + hexOf([]byte{byte(n + 4), 0, byte(n), 0, channel, 0}) + pdu
}

// TestPairingBeforeLink: a host that was told early may pair before the proxy's link is up, and give that up, which
// does not concern the link.
func TestPairingBeforeLink(t *testing.T) {
	const (
		request = "0103000110" + "0001"
		credit  = "0413050140000100"
	)
	run(t, func(r *rig) {
		r.c.cfg.NewSMP = func(cfg smp.Config) Security { return smp.New(cfg) }
		r.advertise(device, "020106")
		r.ask(createConnection, connectionStatus)
		op := r.links.Next(t, "Connect")
		time.Sleep(connectWait)
		r.want(connected)
		r.ask(aclOf(6, request), credit)
		r.ask(aclOf(6, "0508"), credit)
		r.links.None(t)
		r.ask(aclOf(6, request), credit)
		r.events.LinkUp(device, 247)
		op.End(nil)
		r.want()
		r.links.Next(t, "Pair").End(&ble.PairError{Reason: 5})
		r.want("0240200600020006000505")
		r.ask(aclOf(6, request), credit)
		pair := r.links.Next(t, "Pair")
		r.ask(aclOf(6, "0508"), credit)
		r.links.Next(t, "CancelConnect") // which calls off what is pending: the pairing
		pair.End(ble.ErrCanceled)
		r.want()
	})
}

// TestPairingLost: where the link ends under a pairing, the host is told that the pairing failed before it is told of the end.
func TestPairingLost(t *testing.T) {
	const (
		request = "0103000110" + "0001"
		credit  = "0413050140000100"
		failed  = "0240200600020006000508"
	)
	for name, up := range map[string]bool{"before the proxy's link": false, "while the proxy pairs": true} {
		t.Run(name, func(t *testing.T) {
			run(t, func(r *rig) {
				r.c.cfg.NewSMP = func(cfg smp.Config) Security { return smp.New(cfg) }
				r.advertise(device, "020106")
				r.ask(createConnection, connectionStatus)
				op := r.links.Next(t, "Connect")
				time.Sleep(connectWait)
				r.want(connected)
				r.ask(aclOf(6, request), credit)
				if !up {
					op.End(ble.ErrCanceled)
					r.want(failed, "0405040040003e")
					return
				}
				r.events.LinkUp(device, 247)
				op.End(nil)
				r.links.Next(t, "Pair")
				r.events.LinkDown(device, ble.DisconnectRemote)
				r.want(failed, "04050400400013")
			})
		})
	}
}
