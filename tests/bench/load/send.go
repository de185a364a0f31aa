package load

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"bluez-esphome/internal/apiwire"
)

// chunk is roughly the number of bytes that a flood hands to the kernel at a time.
const chunk = 32 << 10

// done is more frames than anybody sends.
const done = 1 << 40

// perPass is the number of frames of one round of all devices.
func (l *Load) perPass() int { return (l.spec.heard() + l.spec.Frame - 1) / l.spec.Frame }

// append adds the next frame to the buffer.
func (p *proxy) append(perPass int) error {
	f := &p.frames[p.next]
	if p.spec.ChangeEvery > 0 {
		f.set(uint32(p.pass / p.spec.ChangeEvery))
	}
	p.next++
	if p.next%perPass == 0 {
		p.pass++
	}
	p.next %= len(p.frames)
	var err error
	p.buf, err = p.to.framer.Append(p.buf, apiwire.BluetoothLERawAdvertisementsResponse, f.payload)
	return err
}

// flush sends the buffer.
func (p *proxy) flush() error {
	_, err := p.to.conn.Write(p.buf)
	p.buf = p.buf[:0]
	return err
}

// flood sends frames to every subscriber as fast as it reads them. No proxy gets ahead of the others by much more than
// two rounds of all devices, since real proxies hear a device at about the same time.
func (l *Load) flood(frames int) error {
	var (
		mu   sync.Mutex
		cond = sync.NewCond(&mu)
		sent = make([]int, len(l.proxies)) // frames
		errs = make([]error, len(l.proxies))
		lead = 2*l.perPass() + 64
		wg   sync.WaitGroup
	)
	ahead := func(n int) bool {
		for _, o := range sent {
			if sent[n] > o+lead {
				return true
			}
		}
		return false
	}
	progress := func(n, frames int) {
		mu.Lock()
		defer mu.Unlock()
		sent[n] = frames
		cond.Broadcast()
		for frames < done && ahead(n) {
			cond.Wait()
		}
	}
	for n, p := range l.proxies {
		wg.Go(func() {
			defer progress(n, done) // the others do not wait for this proxy
			for i := 0; i < frames && errs[n] == nil; {
				p.to.mu.Lock()
				for ; i < frames && len(p.buf) < chunk && errs[n] == nil; i++ {
					errs[n] = p.append(l.perPass())
				}
				if errs[n] == nil {
					errs[n] = p.flush()
				}
				p.to.mu.Unlock()
				if len(l.proxies) > 1 {
					progress(n, i)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// paced sends frames to the proxies in turn, each at its time. behind is how late the last one was.
func (l *Load) paced(frames int, rate float64) (behind time.Duration, err error) {
	interval := time.Duration(float64(l.spec.Frame) / rate * float64(time.Second))
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range frames * len(l.proxies) {
		due := start.Add(time.Duration(i) * interval)
		timer.Reset(time.Until(due))
		<-timer.C
		p := l.proxies[i%len(l.proxies)]
		p.to.mu.Lock()
		err = p.append(l.perPass())
		if err == nil {
			err = p.flush()
		}
		p.to.mu.Unlock()
		if err != nil {
			return 0, err
		}
		behind = time.Since(due)
	}
	return behind, nil
}

// send sends about count advertisements, the same number of frames to each proxy.
func (l *Load) send(count int, rate float64) (a Answer) {
	frames := max(1, count/(l.spec.Frame*len(l.proxies)))
	start := time.Now()
	var behind time.Duration
	var err error
	if rate > 0 {
		behind, err = l.paced(frames, rate)
	} else {
		err = l.flood(frames)
	}
	if err == nil {
		err = l.drained()
	}
	if err != nil {
		return Answer{Error: fmt.Sprintf("cannot send: %v", err)}
	}
	frames *= len(l.proxies)
	return Answer{Count: frames * l.spec.Frame, Frames: frames, Seconds: time.Since(start).Seconds(), Behind: behind.Seconds()}
}

// drained waits until every subscriber has read everything.
func (l *Load) drained() error {
	errs := make([]error, len(l.proxies))
	var wg sync.WaitGroup
	for n, p := range l.proxies {
		wg.Go(func() { errs[n] = p.to.ping() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
