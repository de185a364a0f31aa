package proxysim

import "time"

// Sleep makes a device sleep deeply again and again, as those on a battery do. Before it sleeps it asks its clients to
// leave, as ESPHome does; then its radios are off and nobody reaches it.
type Sleep struct {
	Awake, Asleep time.Duration // both 0: it never sleeps
}

// sleepGrace is how long a device waits for its clients to leave before it sleeps.
const sleepGrace = 500 * time.Millisecond

func (p *Proxy) scheduleSleep() {
	p.air.sched.stop(p.sleep)
	p.sleep = nil
	if p.cfg.Sleep.Asleep > 0 {
		p.sleep = p.air.sched.after(p.cfg.Sleep.Awake, p.fallAsleep)
	}
}

func (p *Proxy) fallAsleep() {
	p.goodbye()
	p.sleep = p.air.sched.after(sleepGrace, func() {
		p.halt(errAsleep)
		p.off = true
		p.SetFault(FaultRefuse)
		p.sleep = p.air.sched.after(p.cfg.Sleep.Asleep, p.wake)
	})
}

func (p *Proxy) wake() {
	p.off = false
	p.SetFault(FaultNone)
	p.startScan()
	p.openWindow()
	p.scheduleSleep()
}
