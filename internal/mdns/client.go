package mdns

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"bluez-esphome/internal/lockorder"
)

const (
	maxAddresses = 16   // of one host
	maxServices  = 1024 // instances that are kept; the one heard longest ago is dropped for a new one
	maxRecent    = 1024 // hosts whose last answers are kept
	// forgetAfter is how long an instance is kept after its last announcement: the lifetime of the records of the devices
	// that we know (ESPHome's live 75 minutes).
	forgetAfter = 75 * time.Minute
	// settle is how long a lookup waits for further addresses of a host after the first.
	settle = 50 * time.Millisecond
	// recently: an answer that was just multicast is not repeated within a second (RFC 6762, 6), so that a question right
	// after an announcement would get no answer. What was heard so recently answers it.
	recently = 2 * time.Second
	// firstQuery is the pause after the first question; later ones grow (RFC 6762, 5.2).
	firstQuery   = time.Second
	maxHostQuery = 10 * time.Second
	browseFactor = 3
	maxBrowse    = 5 * time.Minute
	// reopen is how often the list of interfaces is read again.
	reopen = 10 * time.Second
	// maxAsked is how often a record that an instance's announcement left out is asked for.
	maxAsked = 3
)

// Config configures a Client. Each field says what its zero value means.
type Config struct {
	// Service is browsed, like _esphomelib._tcp; "" browses nothing.
	Service string
	// Interfaces lists the interfaces to use. It is called every ten seconds; nil is RealInterfaces.
	Interfaces func() ([]net.Interface, error)
	// Alive, if not nil, is called for each instance of Service and each host that gave a sign of life, with its first
	// label in lower case. It must not block.
	Alive func(name string)
	// Found, if not nil, is called each time an instance is heard of which host, port and an address are known. It must
	// not block.
	Found  func(Service)
	Logger *slog.Logger // nil discards

	port int // in tests; 0 is 5353
}

// Service is one instance of a service. Its texts come from the network and are not trusted.
type Service struct {
	Instance string // its first label, in lower case
	Host     string // of the service, in lower case, without the final dot
	Port     uint16
	Addrs    []netip.Addr
	Text     map[string]string // keys in lower case
	Seen     time.Time
}

// Client resolves names and browses. Its methods are safe for concurrent use.
type Client struct {
	cfg    Config
	suffix string // .service.local, or ""

	mu     lockorder.Mutex[lockorder.Leaf]
	out    func([]byte) // nil while there is no socket
	asks   map[string][]*ask
	table  map[string]*entry // by instance
	recent map[string]heard  // by host
}

type entry struct {
	Service
	asked int
}

type heard struct {
	addrs []netip.Addr
	at    time.Time
}

// ask is one Lookup that waits; got has a value once there is an address.
type ask struct{ got chan struct{} }

// New makes a Client, which neither sends nor listens before Run.
func New(cfg Config) *Client {
	if cfg.Interfaces == nil {
		cfg.Interfaces = RealInterfaces
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.port == 0 {
		cfg.port = mdnsPort
	}
	c := &Client{cfg: cfg, asks: map[string][]*ask{}, table: map[string]*entry{}, recent: map[string]heard{}}
	if cfg.Service != "" {
		c.suffix = "." + fold(cfg.Service) + ".local"
	}
	return c
}

// Run serves until ctx ends. It follows interfaces that come and go, and waits while there are none.
func (c *Client) Run(ctx context.Context) {
	said := ""
	for ctx.Err() == nil {
		interfaces, err := c.cfg.Interfaces()
		var s *socket
		if err == nil {
			s, err = open(ctx, interfaces, c.cfg.port)
		}
		if err != nil {
			if said != err.Error() {
				said = err.Error()
				c.cfg.Logger.Warn("No multicast DNS: .local names are only resolved by the system", "error", err)
			}
			wait(ctx, reopen)
			continue
		}
		said = ""
		c.serve(ctx, s, indexes(interfaces))
	}
}

// serve uses one socket until the interfaces change or ctx ends.
func (c *Client) serve(ctx context.Context, s *socket, had []int) {
	var wg sync.WaitGroup
	wg.Go(func() { s.read(func(b []byte, from net.Interface, _ bool) { c.handle(b, from.Name) }) })
	c.attach(s.send)
	ctx, cancel := context.WithCancel(ctx)
	if c.suffix != "" {
		wg.Go(func() { c.browse(ctx) })
	}
	for wait(ctx, reopen) {
		if now, err := c.cfg.Interfaces(); err != nil || !slices.Equal(indexes(now), had) {
			break
		}
	}
	cancel()
	c.attach(nil)
	s.close()
	wg.Wait()
}

func (c *Client) attach(out func([]byte)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = out
}

func indexes(list []net.Interface) []int {
	var out []int
	for _, i := range list {
		out = append(out, i.Index)
	}
	slices.Sort(out)
	return out
}

// wait reports false once ctx has ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (c *Client) ask(qs ...question) {
	c.mu.Lock()
	out := c.out
	c.mu.Unlock()
	if b := query(qs...); b != nil && out != nil {
		out(b)
	}
}

// browse asks for the instances, at first often, and for records that their answers left out.
func (c *Client) browse(ctx context.Context) {
	pause, next := firstQuery, time.Now()
	for {
		if now := time.Now(); !now.Before(next) {
			c.ask(question{strings.TrimPrefix(c.suffix, "."), dnsmessage.TypePTR})
			next, pause = now.Add(pause), min(pause*browseFactor, maxBrowse)
		}
		if !wait(ctx, min(time.Until(next), firstQuery)) {
			return
		}
		if qs := c.missing(); len(qs) > 0 {
			c.ask(qs...)
		}
	}
}

// missing lists questions for the records that instances lack, as many as fit into one packet.
func (c *Client) missing() []question {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []question
	for name, e := range c.table {
		if e.asked >= maxAsked || len(out) > 8 {
			continue
		}
		switch {
		case e.Host == "":
			e.asked++
			out = append(out, question{name + c.suffix, dnsmessage.TypeSRV}, question{name + c.suffix, dnsmessage.TypeTXT})
		case len(e.Addrs) == 0:
			e.asked++
			out = append(out, question{e.Host, dnsmessage.TypeA}, question{e.Host, dnsmessage.TypeAAAA})
		}
	}
	return out
}

// Services lists the instances whose host, port and an address are known, by name.
func (c *Client) Services() []Service {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Service
	now := time.Now()
	for name, e := range c.table {
		if now.Sub(e.Seen) >= forgetAfter {
			delete(c.table, name)
		} else if e.complete() {
			out = append(out, e.copy())
		}
	}
	slices.SortFunc(out, func(a, b Service) int { return strings.Compare(a.Instance, b.Instance) })
	return out
}

func (e *entry) complete() bool { return e.Host != "" && e.Port != 0 && len(e.Addrs) > 0 }

func (e *entry) copy() Service {
	s := e.Service
	s.Addrs, s.Text = slices.Clone(s.Addrs), maps.Clone(s.Text)
	return s
}

// handle takes one packet from the interface that zone names.
func (c *Client) handle(packet []byte, zone string) {
	r := parse(packet, zone)
	if r == nil {
		return
	}
	now := time.Now()
	alive := map[string]bool{} // first labels
	c.mu.Lock()
	touched := c.instances(r, now, alive)
	for host, l := range r.addresses {
		c.address(host, l, now)
		if l.anyAlive {
			alive[label(host)] = true
		}
	}
	for name, e := range c.table {
		l := r.addresses[e.Host]
		if l == nil || e.Host == "" {
			continue
		}
		e.Addrs = l.merge(e.Addrs)
		if l.anyAlive {
			e.Seen, touched[name] = now, true
		}
	}
	var found []Service
	for name := range touched {
		if e := c.table[name]; e != nil && e.complete() {
			found = append(found, e.copy())
		}
	}
	c.mu.Unlock()
	if c.cfg.Alive != nil {
		for name := range alive {
			c.cfg.Alive(name)
		}
	}
	if c.cfg.Found != nil {
		for _, s := range found {
			c.cfg.Found(s)
		}
	}
}

// instances notes what a packet says about instances of the service, and returns those that it is about.
func (c *Client) instances(r *records, now time.Time, alive map[string]bool) map[string]bool {
	touched := map[string]bool{}
	if c.suffix == "" {
		return touched
	}
	note := func(full string) *entry {
		name, ok := strings.CutSuffix(full, c.suffix)
		if !ok || name == "" || strings.Contains(name, ".") {
			return nil
		}
		e := c.table[name]
		if e == nil {
			c.makeRoom(now)
			e = &entry{Service: Service{Instance: name}}
			c.table[name] = e
		}
		e.Seen, touched[name], alive[name] = now, true, true
		return e
	}
	for _, p := range r.pointers {
		if "."+p.service != c.suffix {
			continue
		}
		if p.gone {
			delete(c.table, strings.TrimSuffix(p.instance, c.suffix))
			continue
		}
		note(p.instance)
	}
	for name, s := range r.servers {
		if e := note(name); e != nil {
			if e.Host != s.host {
				e.Addrs, e.asked = c.recent[s.host].addrs, 0
			}
			e.Host, e.Port = s.host, s.port
		}
	}
	for name, t := range r.texts {
		if e := note(name); e != nil {
			e.Text = t
		}
	}
	return touched
}

// makeRoom drops instances that were not heard for long. If there are still too many, it drops the one that was heard
// longest ago. c.mu is held.
func (c *Client) makeRoom(now time.Time) {
	if len(c.table) < maxServices {
		return
	}
	oldest := ""
	for name, e := range c.table {
		if now.Sub(e.Seen) >= forgetAfter {
			delete(c.table, name)
		} else if o := c.table[oldest]; o == nil || e.Seen.Before(o.Seen) {
			oldest = name
		}
	}
	if len(c.table) >= maxServices {
		delete(c.table, oldest)
	}
}

// address notes what a packet says about a host, and wakes those who asked for it.
func (c *Client) address(host string, l *addresses, now time.Time) {
	if _, known := c.recent[host]; !known && len(c.recent) >= maxRecent {
		maps.DeleteFunc(c.recent, func(_ string, h heard) bool { return now.Sub(h.at) > recently })
		for other := range c.recent { // any other one: this one is waited for, and thousands of the others may be made up
			if len(c.recent) < maxRecent || len(c.asks[host]) == 0 {
				break
			}
			delete(c.recent, other)
		}
		if len(c.recent) >= maxRecent {
			return
		}
	}
	addrs := l.merge(c.lately(host, now))
	if len(addrs) == 0 {
		delete(c.recent, host)
		return
	}
	c.recent[host] = heard{addrs, now}
	for _, a := range c.asks[host] {
		select {
		case a.got <- struct{}{}:
		default:
		}
	}
}

// lately gives the addresses of a host if they were heard just now.
func (c *Client) lately(host string, now time.Time) []netip.Addr {
	if h, ok := c.recent[host]; ok && now.Sub(h.at) <= recently {
		return h.addrs
	}
	return nil
}

// label is the first label of a name.
func label(name string) string {
	first, _, _ := strings.Cut(name, ".")
	return first
}
