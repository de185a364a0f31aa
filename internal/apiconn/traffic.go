package apiconn

import "sync/atomic"

// Traffic counts what a Proxy did since it was made.
type Traffic struct {
	Read, Written uint64 // bytes of the native API, as they are on TCP
	Sessions      uint64 // that were up
	Failures      uint64 // attempts that did not bring a session up
}

// traffic is Traffic while it counts. The advert path adds to it once for each read from the socket.
type traffic struct{ read, written, sessions, failures atomic.Uint64 }

func (t *traffic) wrote(n int) {
	if n > 0 {
		t.written.Add(uint64(n))
	}
}

// Traffic gives the counters.
func (p *Proxy) Traffic() Traffic {
	t := &p.traffic
	return Traffic{Read: t.read.Load(), Written: t.written.Load(), Sessions: t.sessions.Load(), Failures: t.failures.Load()}
}
