package web

import (
	"context"
	"net/http"
	"slices"
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

// hub reads the Source once a second while there are viewers, and sends the changes to all of them.
type hub struct {
	src  Source
	past *past
	wake chan struct{} // capacity 1: the first viewer came

	mu      lockorder.Mutex[lockorder.Page]
	view    *view
	sent    *sentState
	viewers map[*viewer]struct{}
	last    []byte    // the newest snapshot that was asked for
	made    time.Time // when last was made
}

// viewer is one event stream. next holds the event that it has not taken yet. A viewer that is behind, because it is
// new or missed an event, gets a whole snapshot next. behind is under hub.mu.
type viewer struct {
	next   chan []byte
	behind bool
}

func newHub(src Source, version string) *hub {
	return &hub{src: src, past: newPast(), wake: make(chan struct{}, 1), view: newView(src, version), sent: newSentState(), viewers: map[*viewer]struct{}{}}
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
	h.mu.Lock()
	defer h.mu.Unlock()
	now, proxies := time.Now(), h.src.Proxies()
	h.view.rates.of("", h.src.Air().Adverts, now)
	for _, p := range proxies {
		h.view.rates.of(p.Name, p.Adverts, now)
	}
	if h.past.due(now) {
		h.view.hear(proxies)
		h.past.add(h.view.devices, h.view.proxies, now)
	}
}

func (h *hub) publish() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	snap := h.view.look(now)
	if h.past.due(now) {
		h.past.add(h.view.devices, h.view.proxies, now)
	}
	change := h.sent.update(h.view, snap, now)
	var whole []byte
	for v := range h.viewers {
		if len(v.next) > 0 { // it did not take the last event: it gets a whole snapshot after that
			v.behind = true
			continue
		}
		if !v.behind && change != nil {
			v.next <- change
			continue
		}
		if whole == nil {
			whole = slices.Concat([]byte(eventBegin), encode(h.sent.whole(h.view, snap, now)), []byte(eventEnd))
		}
		v.behind = false
		v.next <- whole
	}
}

// snapshot gives a snapshot that is not older than age. The lock makes requests at the same time share one.
func (h *hub) snapshot(age time.Duration) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.last == nil || now.Sub(h.made) >= age {
		h.last, h.made = encode(h.view.once(now)), now
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
	if out.Flush() != nil {              // the headers go out now: the first event takes up to a second
		return
	}
	ends := time.NewTimer(streamTime)
	defer ends.Stop()
	for {
		var event []byte
		select {
		case event = <-v.next:
		case <-ends.C:
			return
		case <-r.Context().Done():
			return
		}
		if out.SetWriteDeadline(time.Now().Add(eventTimeout)) != nil {
			return
		}
		if _, err := w.Write(event); err != nil || out.Flush() != nil {
			return
		}
	}
}

// serveOnce gives one snapshot.
func (h *hub) serveOnce(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(h.snapshot(snapshotEvery))
}
