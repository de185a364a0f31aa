package link

import (
	"net"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
)

// silence switches the advertising of all peripherals off or on.
func (s *scene) silence(on bool) {
	for _, id := range s.air.IDs() {
		if err := s.air.Advertise(id, on); err != nil {
			s.t.Error(err)
		}
	}
}

// replace ends a fault by putting a proxy with another configuration at the address.
func (s *scene) replace(change func(*proxysim.ProxyConfig)) func() {
	return func() {
		c := proxysim.ProxyConfig{Name: "kitchen-2"}
		change(&c)
		p, err := proxysim.NewProxy(s.air, c)
		if err != nil {
			s.t.Error(err)
			return
		}
		s.net.change(func() { s.net.proxy = p })
	}
}

// other is another host that subscribes; end makes it leave.
func (s *scene) other() (p *apiconn.Proxy, end func()) {
	near, far := net.Pipe()
	s.host = new(quietHandler)
	s.net.wg.Go(func() { _ = s.sim.ServeConn(s.net.ctx, far) })
	host, err := apiconn.Open(s.net.ctx, near, apiconn.Config{Handler: s.host, ClientInfo: "other host", OnConflict: apiconn.Retake})
	if err != nil {
		s.t.Fatal(err)
	}
	s.net.wg.Go(func() { _ = host.Run(s.net.ctx) })
	time.Sleep(100 * time.Millisecond) // it is subscribed
	return host.Proxy(), host.Proxy().Stop
}

func theft(s *scene) func() {
	_, end := s.other()
	return end
}

// occupy makes another host use a connection slot.
func (s *scene) occupy() func() {
	p, end := s.other()
	if _, err := p.Connect(s.t.Context(), pulse, ble.Random, false); err != nil {
		s.t.Fatal(err)
	}
	return end
}

// outageDuringRead holds everything for two seconds while a read is under way.
func outageDuringRead(s *scene) func() {
	ctx := s.t.Context()
	if _, err := s.proxy.Connect(ctx, pulse, ble.Random, false); err != nil {
		s.t.Fatal(err)
	}
	services, err := s.proxy.Services(ctx, pulse)
	if err != nil {
		s.t.Fatal(err)
	}
	var handle uint16
	for _, svc := range services {
		for _, c := range svc.Characteristics {
			if c.Properties&ble.PropRead != 0 {
				handle = c.ValueHandle
			}
		}
	}
	begun := time.Now()
	s.net.present(func(w *wire) { w.set(func() { w.hold = begun.Add(2 * time.Second) }) })
	value, err := s.proxy.Read(ctx, pulse, handle)
	if took := time.Since(begun); err != nil || len(value) == 0 || took < 2*time.Second || took > 2200*time.Millisecond {
		s.t.Errorf("read %x, %v after %v", value, err, took)
	}
	return nil
}

// rebooted: the device has forgotten its connections and resets them when it is spoken to.
func rebooted(s *scene) func() {
	s.net.present(func(w *wire) { w.set(func() { w.forgot = true }) })
	time.Sleep(2 * time.Second)
	s.proxy.Kick()
	return nil
}

// moved: the device gets another address; nobody answers at the old one, which the name still gives at first.
func moved(s *scene) func() {
	s.net.change(func() { s.net.at = newAddr })
	s.sim.DropClients()
	return func() {
		time.Sleep(5 * time.Second)
		s.net.change(func() { s.net.name = newAddr })
		s.proxy.Kick()
	}
}
