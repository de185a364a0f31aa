package apiconn

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lockorder"
)

// Proxy is one proxy and its session, as long as there is one. All methods may
// be called from any goroutine. Make it with New.
type Proxy struct {
	cfg  Config
	host string
	port uint16
	log  *slog.Logger
	signals

	current atomic.Pointer[session]  // nil without a session
	asking  chan struct{}            // capacity 1: one question of beside.go at a time
	at      atomic.Pointer[net.Addr] // of the last session
	traffic traffic

	mu       lockorder.Mutex[lockorder.Session] // guards the following
	started  bool
	stopping bool
	name     string
	info     Info
	hears    bool        // an advertisement came, in this session or an earlier one
	lost     []*lostFunc // called when a session ended
	health
	claim
	scanWish
}

// signals are the channels by which the loop of a Proxy is told something.
type signals struct {
	stop  chan struct{} // closed by Stop
	ended chan struct{} // closed when the goroutines have ended
	first chan struct{} // closed when the first session is up
	kick  chan struct{} // capacity 1: try at once
	again chan struct{} // capacity 1: see Reconsider
	wake  chan struct{} // capacity 1: try at once, whatever the pause is for
}

// health is how a Proxy is and what went wrong with it.
type health struct {
	state   State
	lastErr error
	everUp  bool
	next    time.Time       // of the next attempt, see NextAttempt
	warned  map[string]bool // failures that were logged since the last session
	damaged time.Time       // when a frame could not be decrypted
}

// claim is what is known about which host has a Proxy and its connection slots.
type claim struct {
	slots   ble.Slots
	ours    map[ble.Address]bool // devices whose slots are ours
	parted  map[ble.Address]bool // those of ours whose link ended and whose slot is not free yet
	force   bool                 // the next session takes the proxy from whoever has it
	wasOurs time.Time            // when the last session ended in which the subscription was ours
	taken   time.Time            // of the first subscription, if no host would have been told that it lost the proxy
	thefts  thefts
}

// scanWish is the scan mode that we asked for, and the one before, nil as long as there was no wish.
type scanWish struct{ wish, original *ble.ScannerMode }

// New checks cfg and returns a Proxy that is not started.
func New(cfg Config) (*Proxy, error) {
	host, port, err := SplitAddress(cfg.Address)
	if err != nil {
		return nil, err
	}
	p, err := newProxy(cfg)
	if err != nil {
		return nil, err
	}
	p.host, p.port = host, port
	return p, nil
}

// newProxy makes a Proxy that knows no host yet.
func newProxy(cfg Config) (*Proxy, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	if m := normalMAC(cfg.ExpectMAC); m != "" && (len(m) != 12 || strings.Trim(m, "0123456789abcdef") != "") {
		return nil, fmt.Errorf("cannot use MAC %q: want 12 hexadecimal digits", cfg.ExpectMAC)
	}
	p := &Proxy{
		cfg: cfg, name: cfg.Name, asking: make(chan struct{}, 1),
		signals: signals{
			stop: make(chan struct{}), ended: make(chan struct{}), first: make(chan struct{}),
			kick: make(chan struct{}, 1), again: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		},
		claim:  claim{ours: make(map[ble.Address]bool), parted: make(map[ble.Address]bool)},
		health: health{warned: make(map[string]bool)},
	}
	shown := cfg.Name
	if shown == "" {
		shown = cfg.Address
	}
	p.log = cfg.Logger.With("proxy", shown)
	switch cfg.ScanMode {
	case ScanActive:
		p.wish = new(ble.ScanActive)
	case ScanPassive:
		p.wish = new(ble.ScanPassive)
	}
	return p, nil
}

// Name is the configured name, else the node name that the proxy gave first, else its address.
func (p *Proxy) Name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.name == "" {
		return p.cfg.Address
	}
	return p.name
}

// Address is the configured address.
func (p *Proxy) Address() string { return p.cfg.Address }

// Online reports whether a session is up and, as far as is known, has the subscription: without it the proxy answers no
// request.
func (p *Proxy) Online() bool { return p.current.Load() != nil && p.State() != StateDisplaced }

// session is the present session if requests to it may be sent: while another host has the proxy, none are.
func (p *Proxy) session() *session {
	if s := p.current.Load(); s != nil && p.State() != StateDisplaced {
		return s
	}
	return nil
}

// State is the proxy's present state.
func (p *Proxy) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// LastError says why the proxy is not usable, or not fully, and what to do about it; it is "" if all is well.
func (p *Proxy) LastError() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lastErr == nil {
		return ""
	}
	return p.lastErr.Error()
}

// noteFor is how long a Note is given: somebody who misses the proxy elsewhere looks within a day.
const noteFor = 24 * time.Hour

// notePrevious: the newest subscriber gets everything, and the host that was subscribed before is not told (ESPHome
// 2026.7, and proxies without connections).
const notePrevious = "If another host (Home Assistant?) used this proxy, it gets nothing from it any more: remove the proxy there, or share it from here"

// noteKeyless: a device with encryption in its configuration and no key yet speaks plaintext until ESPHome 2027.2
// (esphome-contract.md §11.12).
const noteKeyless = "This device has encryption but no key yet, and anybody in the network can set one; from ESPHome 2027.2 on it does not answer without: " +
	"run bluez-esphome provision, or set api: encryption: key: in its ESPHome configuration, and noise_psk here"

// Note is what the operator should know though it is no fault; it is "" if there is nothing. Either subscribing may
// have taken the proxy from another host without anybody being told; that is said for a day after the first
// subscription, while the proxy is ours. Or the device waits for a key.
func (p *Proxy) Note() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var notes []string
	if !p.taken.IsZero() && p.state != StateDisplaced && time.Since(p.taken) < noteFor {
		notes = append(notes, notePrevious)
	}
	if p.info.EncryptionProvisionable && !p.info.Encrypted {
		notes = append(notes, noteKeyless)
	}
	return strings.Join(notes, ". ")
}

// Remote is the address and port of the device in the present session; false without one.
func (p *Proxy) Remote() (netip.AddrPort, bool) {
	s := p.current.Load()
	if s == nil || s.conn.RemoteAddr() == nil {
		return netip.AddrPort{}, false
	}
	a, err := netip.ParseAddrPort(s.conn.RemoteAddr().String())
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), err == nil
}

// Info is what the present or last session learnt.
func (p *Proxy) Info() Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.info
}

// Features are the flags of the present or last session.
func (p *Proxy) Features() ble.Features { return p.Info().Features }

// Version is the ESPHome version of the present or last session.
func (p *Proxy) Version() string { return p.Info().Version }

// Slots is the newest message 81 of the present session; Known is false without one.
func (p *Proxy) Slots() ble.Slots {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.slots
	s.Allocated = append([]ble.Address(nil), s.Allocated...)
	return s
}

// Kick is for a sign of life like an mDNS announcement. A proxy that waits for its next attempt tries at once,
// with the back-off reset, but at most once a second and not where only the operator or another host can help;
// an attempt to connect that hangs is made anew; a session that has been silent is asked for an answer.
func (p *Proxy) Kick() {
	if s := p.current.Load(); s != nil {
		s.nudge()
	}
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// Start starts the proxy and returns when its first session is up and
// subscribed; it then goes on until Stop. The error is ErrStopped if Stop comes first,
// ErrStarted on a second call, or that of ctx, which stops the proxy.
func (p *Proxy) Start(ctx context.Context) error {
	if err := p.begin(); err != nil {
		return err
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer cancel()
		p.run(background)
	}()
	select {
	case <-p.first:
		return nil
	case <-p.stop:
		<-p.ended
		return ErrStopped
	case <-ctx.Done():
		p.Stop()
		return ctx.Err()
	}
}

// Run starts the proxy and keeps it going until Stop or until ctx ends, then closes the
// session and returns nil. ErrStarted says that it was started before.
func (p *Proxy) Run(ctx context.Context) error {
	if err := p.begin(); err != nil {
		return err
	}
	p.run(ctx)
	return nil
}

func (p *Proxy) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.stopping:
		return ErrStopped
	case p.started:
		return ErrStarted
	}
	p.started = true
	return nil
}

// Stop takes leave of the proxy (message 5; at most two seconds), fails what is pending
// and waits until every goroutine has ended. It may be called at any time and again, but not from the
// Handler.
func (p *Proxy) Stop() {
	p.mu.Lock()
	if !p.stopping {
		p.stopping = true
		close(p.stop)
	}
	started := p.started
	p.mu.Unlock()
	if started {
		<-p.ended
	}
}

// setState records a state; err is nil when all is well.
func (p *Proxy) setState(s State, err error) {
	p.mu.Lock()
	p.state, p.lastErr = s, err
	p.mu.Unlock()
	p.changed()
}

// changed tells the owner that the state may have changed.
func (p *Proxy) changed() {
	if p.cfg.Changed != nil {
		p.cfg.Changed()
	}
}

// explain logs a failure as a warning. The same failure is logged for debugging only, until a session was up.
func (p *Proxy) explain(message string, err error) {
	p.mu.Lock()
	level := slog.LevelWarn
	text := message + err.Error()
	if p.warned[text] {
		level = slog.LevelDebug
	} else if len(p.warned) < 64 { // a peer's texts must not fill the memory
		p.warned[text] = true
	}
	p.mu.Unlock()
	p.log.Log(context.Background(), level, message, "address", p.cfg.Address, "error", err)
}

// stateOf is the state of the proxy after an attempt that ended with err.
func stateOf(err error) State {
	if apiwire.AuthFailure(err) {
		return StateAuthFailed
	}
	if _, ok := err.(*ConflictError); ok {
		return StateDisplaced
	}
	return StateOffline
}
