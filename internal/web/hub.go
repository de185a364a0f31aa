package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"bluez-esphome/internal/lockorder"
)

const (
	// snapshotEvery is the page's pace.
	snapshotEvery = time.Second
	// maxDevices bounds a snapshot; those heard last count.
	maxDevices = 500
	// streamTime is how long one event stream lasts; browsers begin another one by themselves.
	streamTime = time.Hour
	// eventTimeout is how long a viewer may take to take an event.
	eventTimeout = 10 * time.Second
)

// hub makes one snapshot a second while somebody looks and hands it to all.
type hub struct {
	src     Source
	version string
	wake    chan struct{} // capacity 1: the first viewer came

	mu      lockorder.Mutex[lockorder.Page]
	viewers map[*viewer]struct{}
	last    []byte    // the newest snapshot
	made    time.Time // when last was made
}

// viewer is one event stream. next holds the newest snapshot that it has not yet taken: one that
// is slow misses some.
type viewer struct{ next chan []byte }

func newHub(src Source, version string) *hub {
	return &hub{src: src, version: version, wake: make(chan struct{}, 1), viewers: map[*viewer]struct{}{}}
}

func (h *hub) run(ctx context.Context) {
	tick := time.NewTicker(snapshotEvery)
	defer tick.Stop()
	for {
		h.mu.Lock()
		idle := len(h.viewers) == 0
		h.mu.Unlock()
		if idle {
			select {
			case <-h.wake:
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

func (h *hub) publish() {
	now := h.snapshot(snapshotEvery / 2)
	h.mu.Lock()
	defer h.mu.Unlock()
	for v := range h.viewers {
		select {
		case <-v.next:
		default:
		}
		v.next <- now
	}
}

// snapshot gives one that is not older than that. The lock makes those who ask at the same time share it.
func (h *hub) snapshot(age time.Duration) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.last == nil || now.Sub(h.made) >= age {
		h.last, h.made = encode(h.src, h.version, now), now
	}
	return h.last
}

// join adds a viewer, nil if there are too many.
func (h *hub) join() *viewer {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.viewers) >= maxViewers {
		return nil
	}
	v := &viewer{next: make(chan []byte, 1)}
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
	_ = out.SetReadDeadline(time.Time{}) // that of the request would end the stream
	ends := time.NewTimer(streamTime)
	defer ends.Stop()
	first := h.snapshot(snapshotEvery)
	for data := first; ; {
		if out.SetWriteDeadline(time.Now().Add(eventTimeout)) != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil || out.Flush() != nil {
			return
		}
		select {
		case data = <-v.next:
		case <-ends.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// serveOnce gives one snapshot.
func (h *hub) serveOnce(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(h.snapshot(snapshotEvery))
}
