package stream

import (
	"context"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/lockorder"
)

// A Manager streams as the configuration wants it, which a reload may change. Its methods are goroutine-safe.
type Manager struct {
	cfg     Config
	present atomic.Pointer[streamer] // nil: off

	mu   lockorder.Mutex[lockorder.StreamChange] // one change at a time; guards what follows
	m    config.MQTT
	ctx  func() context.Context // nil: not running
	stop func()                 // ends the present streamer and waits for it; nil: there is none that runs
	over bool
}

// New makes a Manager that is off.
func New(cfg Config) *Manager {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Manager{cfg: cfg}
}

// Apply makes the stream that of a configuration. A stream that stays as it is keeps its session and its counts.
func (g *Manager) Apply(m config.MQTT) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over || reflect.DeepEqual(g.m, m) {
		return
	}
	g.m = m
	var next *streamer
	if m.Host != "" {
		next = newStreamer(m, g.cfg)
	}
	g.present.Store(next)
	if g.stop != nil {
		g.stop()
		g.stop = nil
	}
	g.start()
}

// start runs the present streamer, if there is one and the Manager runs. g.mu is held.
func (g *Manager) start() {
	s := g.present.Load()
	if s == nil || g.ctx == nil {
		return
	}
	ctx, cancel := context.WithCancel(g.ctx())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx)
	}()
	g.stop = func() { cancel(); <-ended }
}

// Run streams until ctx ends.
func (g *Manager) Run(ctx context.Context) error {
	g.mu.Lock()
	g.ctx = func() context.Context { return ctx }
	g.start()
	g.mu.Unlock()
	<-ctx.Done()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	g.present.Store(nil)
	if g.stop != nil {
		g.stop()
		g.stop = nil
	}
	return nil
}

// Wants reports whether advertisements are published.
func (g *Manager) Wants() bool { return g.present.Load() != nil }

// Adverts takes what the merged table took of a batch, in its order. It waits for nobody and does not keep the data.
func (g *Manager) Adverts(at time.Time, merged []ble.RawAdvert) {
	if s := g.present.Load(); s != nil && len(merged) > 0 {
		s.in.adverts(at, merged)
	}
}

// ProxiesChanged says that what is known of a proxy changed.
func (g *Manager) ProxiesChanged() {
	if s := g.present.Load(); s != nil {
		signal(s.statesChanged)
	}
}

// Status tells of the stream; false if it is off.
func (g *Manager) Status() (Status, bool) {
	s := g.present.Load()
	if s == nil {
		return Status{}, false
	}
	return s.status(), true
}
