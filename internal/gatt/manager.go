package gatt

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/ble"

	"bluez-esphome/internal/lockorder"
)

// How long background clean-up may take, and how many things are kept.
const (
	disconnectWait = 5 * time.Second  // for the proxy's report of a disconnect
	releaseWait    = 5 * time.Second  // for message 81 to show a slot as free
	callOffWait    = time.Second      // for a called-off attempt before the next proxy is dialled
	unpairWait     = 30 * time.Second // for the answer to an unpair request
	killWait       = time.Second      // for operations to end once their context has
	clearWait      = 10 * time.Second // for the answer to a cache-clearing request
)

// Manager owns all links. Its methods are goroutine-safe and, except for Close and
// those that take a context, return at once.
type Manager struct {
	cfg    Config
	log    *slog.Logger
	events dispatcher
	wg     sync.WaitGroup
	// derive makes a context that ends with the Manager; kill ends them all.
	derive func() (context.Context, context.CancelCauseFunc)
	kill   context.CancelFunc

	waiting atomic.Int32 // searches that wait for something to change

	parties

	recMu lockorder.Mutex[lockorder.Records] // serialises updates of the Store

	mu      lockorder.Mutex[lockorder.Links]
	closed  bool
	proxies map[string]*proxyState
	devices map[ble.Address]*device
	waiters []*waiter  // for a slot, in the order of arrival
	order   uint64     // of the last reservation
	linked  uint64     // number of the last link
	history []*Attempt // the oldest first
	// revision grows with each change of history.
	revision uint64
	counts   Counts
	changed  chan struct{} // closed and replaced when a path may have become usable
}

// parties is how a Manager asks and tells its Owners, which set it before anything else happens. Both functions are
// called without locks, and are nil where there are no Owners.
type parties struct {
	// unarmed is told of a subscription that could not be enabled again.
	unarmed func(a ble.Address, valueHandle uint16, err error)
	// bonder tells whose bond it is where the peripheral asked for it, "" for nobody's.
	bonder func(a ble.Address) string
}

// postUnarmed tells through q that a subscription ended because of err.
func (p parties) postUnarmed(q *dispatcher, a ble.Address, valueHandle uint16, err error) {
	if p.unarmed != nil {
		q.post(func() { p.unarmed(a, valueHandle, err) })
	}
}

// bonderOf tells whose bond with a it is where the peripheral asked for it, "" for nobody's.
func (p parties) bonderOf(a ble.Address) string {
	if p.bonder == nil {
		return ""
	}
	return p.bonder(a)
}

// device is what is known of one address. Its fields are under Manager.mu.
type device struct {
	cur  *session       // nil: neither link nor attempt
	subs []subscription // in the order of the calls
	// posted is the database that was told last, told the one that whoever is told knows by now.
	posted, told *ble.Database
	// lost is when the last link was lost because its proxy went, zero if it ended otherwise.
	lost time.Time
	// blindAgain is until when it is not dialled blind, if it is not heard.
	blindAgain time.Time
	// stopping: a session before cur that is not yet over.
	stopping <-chan struct{}
}

// New makes a Manager. It is to be closed.
func New(cfg Config) *Manager {
	cfg.setDefaults()
	base, kill := context.WithCancel(context.Background())
	return &Manager{
		cfg: cfg,
		log: cfg.Logger,
		derive: func() (context.Context, context.CancelCauseFunc) {
			return context.WithCancelCause(base)
		},
		kill:    kill,
		proxies: make(map[string]*proxyState),
		devices: make(map[ble.Address]*device),
		changed: make(chan struct{}),
		counts:  newCounts(),
	}
}

// Close disconnects every link and calls off every attempt, and returns when all of
// it is over or ctx ends. LinkDown is called for every link.
func (m *Manager) Close(ctx context.Context) {
	m.mu.Lock()
	m.closed = true
	for _, d := range m.devices {
		if d.cur != nil {
			d.cur.endLocked(errLocal)
		}
	}
	for _, ps := range m.proxies {
		ps.stopLocked()
	}
	m.mu.Unlock()

	over := make(chan struct{})
	go func() {
		m.wg.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-ctx.Done():
		m.kill()
		t := time.NewTimer(killWait)
		defer t.Stop()
		select {
		case <-over:
		case <-t.C:
			m.log.Error("a proxy does not end its operations; giving up on it")
			return
		}
	}
	m.kill()
	m.events.wait()
}

// spawnLocked runs f on a goroutine that Close waits for. It reports false when
// the Manager is closed. m.mu is held.
func (m *Manager) spawnLocked(f func(ctx context.Context)) bool {
	if m.closed {
		return false
	}
	m.goLocked(f)
	return true
}

// goLocked is spawnLocked for what a session still has to do while the Manager closes: the
// session's own goroutine keeps the wait group above zero.
func (m *Manager) goLocked(f func(ctx context.Context)) {
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		ctx, cancel := m.derive()
		defer cancel(nil)
		f(ctx)
	}()
}

// changedLocked wakes everybody who waits for a path.
func (m *Manager) changedLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// maxTold is of how many devices without a link it is remembered which database was told.
const maxTold = 4096

// deviceLocked finds or makes the entry of a.
func (m *Manager) deviceLocked(a ble.Address) *device {
	d := m.devices[a]
	if d == nil {
		d = &device{}
		m.devices[a] = d
	}
	return d
}

// tidyLocked forgets a device about which there is nothing to remember.
func (m *Manager) tidyLocked(a ble.Address) {
	if d := m.devices[a]; d != nil && d.cur == nil && len(d.subs) == 0 && d.stopping == nil && (d.told == nil || len(m.devices) > maxTold) {
		delete(m.devices, a)
	}
}

// dispatcher runs callbacks one after another, in the order in which they were posted or claimed their turn. They run
// on a goroutine that exists while there are any, or on that of the caller who claimed the turn while nothing waited:
// such a callback is never queued. The queue is as long as what arrives while one callback runs; callbacks do not
// block.
type dispatcher struct {
	mu      lockorder.Mutex[lockorder.LinkEvents]
	queue   []func()
	spare   []func() // the memory of a queue that has been run
	running bool     // callbacks run, or the caller who claimed the turn is about to
	idle    *sync.Cond
}

// post queues f. It may be called under any lock.
func (d *dispatcher) post(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = append(d.queue, f)
	if !d.running {
		d.running = true
		go d.run(math.MaxInt)
	}
}

// claim gives f its turn. It may be called under any lock. If nothing waits, it reports true, and the caller goes on to
// call runClaimed with f as soon as it holds no lock; this saves queueing f and waking another goroutine. Else f is
// queued.
func (d *dispatcher) claim(f func()) (mine bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running {
		d.queue = append(d.queue, f)
		return false
	}
	d.running = true
	return true
}

// maxHelp is how many callbacks a caller that claimed the turn runs at most besides its own: it has other work.
const maxHelp = 64

// runClaimed runs f, and what was posted meanwhile, on the caller's goroutine.
func (d *dispatcher) runClaimed(f func()) {
	f()
	d.run(maxHelp)
}

// run runs about limit callbacks and leaves the rest to another goroutine.
func (d *dispatcher) run(limit int) {
	for {
		d.mu.Lock()
		if len(d.queue) == 0 {
			d.running = false
			if d.idle != nil {
				d.idle.Broadcast()
			}
			d.mu.Unlock()
			return
		}
		if limit <= 0 {
			go d.run(math.MaxInt)
			d.mu.Unlock()
			return
		}
		batch := d.queue
		d.queue, d.spare = d.spare, nil
		d.mu.Unlock()
		for _, f := range batch {
			f()
		}
		limit -= len(batch)
		clear(batch)
		d.mu.Lock()
		d.spare = batch[:0]
		d.mu.Unlock()
	}
}

// wait returns when the queue is empty.
func (d *dispatcher) wait() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.idle == nil {
		d.idle = sync.NewCond(&d.mu)
	}
	for d.running {
		d.idle.Wait()
	}
}
