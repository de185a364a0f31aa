package proxysim

import (
	"testing"
	"time"

	"bluez-esphome/internal/apiwire/apipb"
)

func pairing(c *peer, want bool, code int32) {
	c.t.Helper()
	c.send(request(goldenMain, rtPair))
	if m := expect[*apipb.BluetoothDevicePairingResponse](c); m.GetPaired() != want || m.GetError() != code {
		c.t.Errorf("pairing: %v, want %v %d", m, want, code)
	}
}

func (c *peer) unlink() {
	c.t.Helper()
	c.send(request(goldenMain, rtDisconnect))
	expect[*apipb.BluetoothDeviceConnectionResponse](c)
	expect[*apipb.BluetoothConnectionsFreeResponse](c)
}

func (c *peer) wantRead(handle uint32, want string) {
	c.t.Helper()
	if got := c.read(goldenMain, handle); got != want {
		c.t.Errorf("read of %d: %s, want %s", handle, got, want)
	}
}

func TestPairing(t *testing.T) {
	const enc, auth, secret, mitm = 60, 62, "736563726574", "6d69746d"
	inWorld(t, goldenSpecs(t), func(w *world) {
		p := w.proxy(ProxyConfig{})
		c := w.dial(p)
		c.subscribe()
		pairing(c, false, -1) // no link
		c.link(goldenMain)
		c.wantRead(enc, "error 15")
		pairing(c, true, 0)
		pairing(c, true, 0) // at once
		c.wantRead(enc, secret)
		c.wantRead(auth, mitm)
		c.wantRead(64, "error 8")
		if got := c.writeDescriptor(goldenMain, 75, []byte{1, 0}); got != "written" {
			t.Errorf("encrypted CCCD: %s", got)
		}

		// The bond, and with it the CCCD, outlives the link.
		c.unlink()
		c.link(goldenMain)
		c.wantRead(enc, secret)
		c.wantRead(75, "0100")
		c.unlink()

		// Another proxy has no bond.
		other := w.dial(w.proxy(ProxyConfig{Name: "garage"}))
		other.subscribe()
		other.link(goldenMain)
		other.wantRead(enc, "error 15")
		other.unlink()
		other.close()

		// The peripheral forgets: a new pairing is needed.
		if err := w.air.ForgetBonds("main"); err != nil {
			t.Error(err)
		}
		c.link(goldenMain)
		c.wantRead(enc, "error 15")
		pairing(c, true, 0)
		c.unlink()

		// The proxy forgets, without a link.
		c.send(request(goldenMain, rtUnpair))
		if m := expect[*apipb.BluetoothDeviceUnpairingResponse](c); !m.GetSuccess() || p.Bonded(goldenMain) {
			t.Errorf("unpairing: %v", m)
		}
		c.link(goldenMain)
		c.wantRead(enc, "error 15")
		c.send(request(goldenMain, rtClear))
		if m := expect[*apipb.BluetoothDeviceClearCacheResponse](c); !m.GetSuccess() {
			t.Errorf("clearing the cache: %v", m)
		}
		c.close()
	})
}

func TestPairingOfOldFirmware(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{Version: "2026.7.0"}))
		c.subscribe()
		c.send(request(goldenMain, rtPair)) // without a link: silence
		c.quiet(time.Minute)
		c.send(request(goldenMain, rtUnpair))
		if m := expect[*apipb.BluetoothDevicePairingResponse](c); !m.GetPaired() {
			t.Errorf("unpairing: %v", m)
		}
		c.close()
	})
}

func TestPairingRefused(t *testing.T) {
	specs := goldenSpecs(t)
	specs[0].PairError = 5 // pairing not supported
	inWorld(t, specs, func(w *world) {
		p := w.proxy(ProxyConfig{})
		c := w.dial(p)
		c.subscribe()
		c.link(goldenMain)
		pairing(c, false, 5)
		c.wantRead(60, "error 15")
		if p.Bonded(goldenMain) {
			t.Error("bonded")
		}
		c.close()
	})
}

func TestSecurityRequestPairsUnasked(t *testing.T) {
	specs := goldenSpecs(t)
	specs[0].SecurityRequest = true
	inWorld(t, specs, func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{}))
		c.subscribe()
		c.send(request(goldenMain, rtCached))
		expect[*apipb.BluetoothConnectionsFreeResponse](c)
		expect[*apipb.BluetoothDeviceConnectionResponse](c)
		expect[*apipb.BluetoothConnectionsFreeResponse](c)
		if m := expect[*apipb.BluetoothDevicePairingResponse](c); !m.GetPaired() {
			t.Errorf("got %v", m)
		}
		c.wantRead(60, "736563726574")
		c.close()
	})
}
