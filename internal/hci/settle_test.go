package hci

import (
	"testing"
	"time"
)

// TestSettle: while proxies still change to active scanning, a device without its scan response is not reported for the first time; one with
// it is, and everything is as soon as they have changed, or after two seconds.
func TestSettle(t *testing.T) {
	const adv, addr = "02010605030f18f0ff020a040319410307ffffffdeadbeef05160f185701", "0001000101aa00"
	begin := func(r *rig, params string) {
		r.air.passive.Store(true)
		r.ask(params, paramsDone)
		r.ask(scanOn, scanDone)
	}
	t.Run("they change", func(t *testing.T) {
		run(t, func(r *rig) {
			begin(r, activeParams)
			r.advertise(device, adv)
			r.want()
			r.air.passive.Store(false)
			r.advertise(device, adv) // was heard before, as firmware sends what it collected
			r.want()
			r.advertise(device, adv+goldenRsp)
			r.want(report1("00", addr, adv), report1("04", addr, goldenRsp))
			time.Sleep(batchDelay)
			r.advertise(other, "020106") // has no scan response
			r.want(report1("00", "015544332211c4", "020106"), report1("04", "015544332211c4", ""))
		})
	})
	t.Run("they do not", func(t *testing.T) {
		run(t, func(r *rig) {
			begin(r, activeParams)
			time.Sleep(maxSettle - time.Millisecond)
			r.advertise(device, adv)
			r.want()
			time.Sleep(time.Millisecond)
			r.advertise(device, adv)
			r.want(report1("00", addr, adv), report1("04", addr, ""))
			// The kernel restarts its scan: nothing is held back anew.
			r.ask(scanOff, scanDone)
			r.ask(scanOn, scanDone)
			r.advertise(device, adv)
			r.want(report1("00", addr, adv), report1("04", addr, ""))
			// Much later they may have to change again.
			r.ask(scanOff, scanDone)
			time.Sleep(pauseActive + time.Millisecond)
			r.ask(scanOn, scanDone)
			r.advertise(device, adv)
			r.want()
		})
	})
	t.Run("a passive scan", func(t *testing.T) {
		run(t, func(r *rig) {
			begin(r, passiveParams)
			r.advertise(device, adv)
			r.want(report1("00", addr, adv))
		})
	})
}
