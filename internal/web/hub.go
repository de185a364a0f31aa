package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"bluez-esphome/internal/lockorder"
)

const (
	// snapshotEvery is the time between two updates of the page.
	snapshotEvery = time.Second
	// maxDevices bounds the devices of a snapshot; it has those heard last.
	maxDevices = 500
	// streamTime is how long one event stream lasts; browsers then open another one by themselves.
	streamTime = time.Hour
	// eventTimeout bounds the time in which a viewer reads one event.
	eventTimeout = 10 * time.Second
)

// hub takes a snapshot each second while there are viewers, and sends the changes to all of them.
type hub struct {
	src     Source
	version string
	rates   *rates
	past    *past
	sent    *sentState    // belongs to run
	wake    chan struct{} // capacity 1: the first viewer came

	mu      lockorder.Mutex[lockorder.Page]
	viewers map[*viewer]struct{}
	last    []byte    // the newest snapshot
	made    time.Time // when last was made
}

// viewer is one event stream. next holds the event that it has not taken yet. A viewer that missed an event, or that is
// new, gets a whole snapshot next. Its fields are under hub.mu.
type viewer struct {
	next   chan []byte
	behind bool
}

func newHub(src Source, version string) *hub {
	return &hub{src: src, version: version, rates: newRates(), past: newPast(), sent: newSentState(), wake: make(chan struct{}, 1), viewers: map[*viewer]struct{}{}}
}

func (h *hub) run(ctx context.Context) {
	tick := time.NewTicker(snapshotEvery)
	defer tick.Stop()
	sample := time.NewTimer(0)
	defer sample.Stop()
	h.count()
	for {
		h.mu.Lock()
		idle := len(h.viewers) == 0
		h.mu.Unlock()
		if idle {
			sample.Reset(rateEvery)
			select {
			case <-h.wake:
			case <-sample.C:
				h.count()
			case <-ctx.Done():
				return
			}
			continue
		}
		h.publish()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// count reads the counters, so that the first snapshot of a viewer has rates, and adds to the past of the signals.
func (h *hub) count() {
	h.remember(h.src.Devices(maxDevices))
	now := time.Now()
	h.rates.of("", h.src.Air().Adverts, now)
	for _, p := range h.src.Proxies() {
		h.rates.of(p.Name, p.Adverts, now)
	}
}

// remember adds a step to the past if one is due.
func (h *hub) remember(devices []Device) {
	if now := time.Now(); h.past.due(now) {
		h.past.add(devices, now)
	}
}

func (h *hub) publish() {
	if h.past.due(time.Now()) {
		h.remember(h.src.Devices(maxDevices))
	}
	snap := take(h.src, h.version, time.Now(), h.rates)
	change := h.sent.update(snap)
	var full, part []byte
	h.mu.Lock()
	defer h.mu.Unlock()
	for v := range h.viewers {
		if len(v.next) > 0 { // it did not take the last event: it gets a whole snapshot after that
			v.behind = true
			continue
		}
		if v.behind {
			if full == nil {
				full = encode(snap)
			}
			v.behind = false
			v.next <- full
			continue
		}
		if part == nil {
			part = encode(change)
		}
		v.next <- part
	}
}

// snapshot gives a snapshot that is not older than age. The lock makes requests at the same time share one.
func (h *hub) snapshot(age time.Duration) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.last == nil || now.Sub(h.made) >= age {
		h.last, h.made = encode(take(h.src, h.version, now, h.rates)), now
	}
	return h.last
}

// join adds a viewer; it returns nil if there are too many.
func (h *hub) join() *viewer {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.viewers) >= maxViewers {
		return nil
	}
	v := &viewer{next: make(chan []byte, 1), behind: true}
	h.viewers[v] = struct{}{}
	select {
	case h.wake <- struct{}{}:
	default:
	}
	return v
}

func (h *hub) leave(v *viewer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.viewers, v)
}

// serve streams snapshots as server-sent events.
func (h *hub) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	v := h.join()
	if v == nil {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "Too many viewers.", http.StatusServiceUnavailable)
		return
	}
	defer h.leave(v)
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // the deadline of the request would end the stream
	if out.Flush() != nil {              // the first event takes up to a second
		return
	}
	ends := time.NewTimer(streamTime)
	defer ends.Stop()
	for {
		var data []byte
		select {
		case data = <-v.next:
		case <-ends.C:
			return
		case <-r.Context().Done():
			return
		}
		if out.SetWriteDeadline(time.Now().Add(eventTimeout)) != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil || out.Flush() != nil {
			return
		}
	}
}

// serveOnce gives one snapshot.
func (h *hub) serveOnce(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(h.snapshot(snapshotEvery))
}
