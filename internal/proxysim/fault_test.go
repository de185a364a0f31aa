package proxysim

import (
	"testing"
	"time"

	"bluez-esphome/internal/apiwire/apipb"
)

func TestFaults(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		p := w.proxy(ProxyConfig{})

		p.SetFault(FaultSilent)
		silent := w.connect(p)
		silent.send(&apipb.HelloRequest{ClientInfo: "x"})
		silent.quiet(5 * time.Minute)
		silent.close()
		<-silent.ended

		p.SetFault(FaultNone)
		c := w.dial(p)
		c.subscribe()
		p.SetFault(FaultHalfOpen)
		w.settle()
		drain(c)
		c.send(&apipb.PingRequest{})
		if n, _ := c.adverts(20 * time.Second); len(n) != 0 {
			t.Errorf("%d batches on a half-open connection", len(n))
		}
		select {
		case err := <-c.ended:
			t.Errorf("a half-open connection ended: %v", err)
		default:
		}
		p.SetFault(FaultNone)
		<-time.After(time.Second)
		select {
		case <-c.ended:
		default:
			t.Error("the lost connection is there again")
		}

		c = w.dial(p)
		p.SetWriteDelay(time.Second)
		start := time.Now()
		c.send(&apipb.PingRequest{})
		if _, at := expectAt[*apipb.PingResponse](c); at.Sub(start) != time.Second {
			t.Errorf("a slow answer took %v", at.Sub(start))
		}
		p.SetWriteDelay(0)
		p.DropClients()
		<-c.ended
	})
}

func TestClientLimit(t *testing.T) {
	for _, tt := range []struct {
		version string
		want    int
	}{{"2026.10.0", 5}, {"2026.1.0", 8}, {"2025.9.0", 5}} {
		t.Run(tt.version, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				p := w.proxy(ProxyConfig{Version: tt.version})
				peers := []*peer{}
				for range tt.want {
					peers = append(peers, w.dial(p))
				}
				extra := w.connect(p)
				if _, ok := <-extra.msgs; ok {
					t.Error("one too many was answered")
				}
				peers[0].close()
				<-peers[0].ended
				peers[0] = w.dial(p)
				if p.Clients() != tt.want {
					t.Errorf("%d clients", p.Clients())
				}
				for _, c := range peers {
					c.close()
				}
			})
		})
	}
}
