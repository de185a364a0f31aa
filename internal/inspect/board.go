// Package inspect shows on D-Bus what BlueZ has no interface for: the proxies (org.bluez_esphome.Proxy1), whose adapter
// is whose (Radio1), what is shared with whom (Share1), and how the file on disk stands to the configuration in use
// (Configuration1).
package inspect

import (
	"fmt"
	"slices"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/lockorder"

	"github.com/godbus/dbus/v5"
)

// Folder is above all our own objects. It does not begin with /org/bluez: several clients take every path below that
// for an adapter's, and SimpleBLE also what merely begins so.
const Folder = "/bluez_esphome"

// FormerFolder is where they were before. For one release calls to it are still answered, by the objects below Folder;
// it is neither listed nor does it signal, so that no client stumbles over it.
const FormerFolder = "/org/bluez_esphome"

// proxyFolder has the objects of proxies.
const proxyFolder = Folder + "/proxy/"

// A Board shows proxies on D-Bus. Its methods are goroutine-safe.
type Board struct {
	conn  *dbusobj.Conn
	links func(*fleet.Proxy) []Link
	// LinkError, if not nil, says what went wrong last with an attempt or a link through a proxy, "" for nothing. It is
	// set before the objects are shown.
	LinkError func(*fleet.Proxy) string
	// Bonds, if not nil, lists the devices whose bond a proxy holds. It is set likewise.
	Bonds func(*fleet.Proxy) []ble.Address
	iface *dbusobj.Interface

	mu      lockorder.Mutex[lockorder.Board]
	running bool // the loop does what is to be done
	shown   map[*fleet.Proxy]*shown
	paths   map[string]dbus.ObjectPath // by the proxy's ID; nil: to be made anew
}

// shown is one proxy's object.
type shown struct {
	proxy *fleet.Proxy
	obj   *dbusobj.Object // set in the loop; nil before
	path  dbus.ObjectPath
	dirty []string // properties that wait to be signalled
}

var _ fleet.Board = (*Board)(nil)

// NewBoard makes a Board of the objects of conn. links lists the connection slots of a proxy that are in use.
func NewBoard(conn *dbusobj.Conn, links func(*fleet.Proxy) []Link) *Board {
	conn.Alias(FormerFolder, Folder)
	b := &Board{conn: conn, links: links, shown: map[*fleet.Proxy]*shown{}}
	b.iface = b.newInterface()
	return b
}

// Show implements fleet.Board. The path is made of the name or host of the configuration, never of what the device
// claims.
func (b *Board) Show(p *fleet.Proxy) {
	s := &shown{proxy: p}
	b.mu.Lock()
	b.shown[p] = s
	running := b.running
	b.mu.Unlock()
	add := func() {
		label := p.Config().Name
		if label == "" {
			label = p.Config().Host
		}
		path := dbus.ObjectPath(proxyFolder + config.PathElement(label))
		for i, first := 2, path; b.conn.Object(path) != nil; i++ {
			path = dbus.ObjectPath(fmt.Sprintf("%s_%d", first, i))
		}
		obj := b.conn.Add(path, s, b.iface)
		b.mu.Lock()
		defer b.mu.Unlock()
		s.obj, s.path = obj, path
		b.paths = nil
	}
	if running {
		b.conn.Post(add)
	} else {
		add()
	}
}

// Running says that the loop runs, or is about to: until then proxies are shown at once, by its goroutine.
func (b *Board) Running() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = true
}

// Hide implements fleet.Board.
func (b *Board) Hide(p *fleet.Proxy) {
	b.mu.Lock()
	s := b.shown[p]
	delete(b.shown, p)
	b.paths = nil
	b.mu.Unlock()
	if s != nil {
		b.conn.Post(func() { b.conn.Remove(s.obj) })
	}
}

// Changed implements fleet.Board; what changes before the loop gets to it goes into one signal.
func (b *Board) Changed(p *fleet.Proxy, properties ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.shown[p]
	if s == nil {
		return
	}
	b.paths = nil // a session gives a proxy its ID
	first := len(s.dirty) == 0
	for _, name := range properties {
		if !slices.Contains(s.dirty, name) {
			s.dirty = append(s.dirty, name)
		}
	}
	if first {
		b.conn.Post(func() { b.signal(p, s) })
	}
}

// signal runs in the loop.
func (b *Board) signal(p *fleet.Proxy, s *shown) {
	b.mu.Lock()
	dirty, there := s.dirty, b.shown[p] == s
	s.dirty = nil
	b.mu.Unlock()
	if there && s.obj != nil {
		s.obj.Changed(b.iface, dirty...)
	}
}

// Path is the object of the proxy with that ID, the root if there is none.
func (b *Board) Path(id string) dbus.ObjectPath {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.paths == nil {
		b.paths = make(map[string]dbus.ObjectPath, len(b.shown))
		for p, s := range b.shown {
			of := p.ID()
			if _, other := b.paths[of]; of != "" && s.path != "" && (!other || p.Up()) {
				b.paths[of] = s.path
			}
		}
	}
	if path, ok := b.paths[id]; ok {
		return path
	}
	return "/"
}
