package bluezshim

import (
	"slices"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

// A peer is a peripheral: what is the same under every adapter. There is one link to it.
//
//	        Connect            LinkUp                Resolved
//	idle ──────────▶ connecting ──────▶ connected ──────────▶ resolved
//	 ▲                  │ error             │ LinkDown            │
//	 └──────────────────┴───────────────────┴─────────────────────┘
type peer struct {
	shim *Shim
	addr ble.Address
	typ  ble.AddressType
	st   DeviceState
	// stored: the store has it.
	stored bool

	devices []*device // one under each adapter that found it

	connected, resolved bool
	everResolved        bool
	mtu                 int
	db                  *ble.Database // of which the objects are made; nil before
	link                int           // counts links, so that what waits for one cannot act on the next
	uuids               []ble.UUID    // advertised in order of arrival, then, once resolved, sorted

	underway
	downReason *downReason      // set when we end the link: what the signal says
	heldPaired bool             // paired before the services were resolved: Paired is signalled with them
	services   []*service       // GATT objects, sorted by handle
	chars      map[uint16]*char // by value handle
	battery    *battery
}

// underway has the calls about a peer that are not answered yet.
type underway struct {
	via           string        // of the adapter that was asked for the link
	connecting    *attempt      // a pending Connect or Pair
	pairing       *dbusobj.Call // the Pair call that is pending
	pairSender    string        // its caller
	disconnecting []func()      // replies owed once the link is down
	extending     func()        // calls off a call of our own interface
}

// An attempt is a pending connection.
type attempt struct {
	begun time.Time
	done  []func(error)
}

type downReason struct{ reason ble.DisconnectReason }

func (s *Shim) peer(a ble.Address, t ble.AddressType) *peer {
	p := s.peers[a]
	if p == nil {
		p = &peer{shim: s, addr: a, typ: t, chars: map[uint16]*char{}}
		if st, ok := s.store.Device(a); ok {
			p.st, p.stored = st, true
		}
		if p.st.Name == "" {
			p.st.Name = s.names[a]
		}
		s.peers[a] = p
	}
	return p
}

// maxNames bounds the names that are remembered of devices that are gone.
const maxNames = 4096

// nameCache has the names of devices that were heard in this run, in case one comes back without advertising its name,
// as bluetoothd's cache does.
type nameCache map[ble.Address]string

// remember keeps a device's name, unless its address is private: such an address does not come back.
func (names nameCache) remember(p *peer) {
	if p.addr.Private(p.typ) {
		return
	}
	if _, known := names[p.addr]; !known && len(names) >= maxNames {
		for a := range names { // any one
			delete(names, a)
			break
		}
	}
	names[p.addr] = p.st.Name
}

// release forgets a peer that has no device object and no link.
func (p *peer) release() {
	if len(p.devices) == 0 && !p.busy() && p.shim.peers[p.addr] == p {
		p.forgotten()
	}
}

// forgotten takes a peer out of the Shim.
func (p *peer) forgotten() {
	delete(p.shim.peers, p.addr)
	if p.extending != nil {
		p.extending()
	}
}

// save stores what outlives the device's objects: what a user set, and bonds. What was only heard is not stored,
// because many rotating addresses would fill the disk.
func (p *peer) save() {
	p.st.Type = p.typ
	switch {
	case p.st.Bonded:
		p.st.UUIDs = slices.Clone(p.uuids)
	case p.st.Alias == "" && !p.st.Trusted && !p.st.Blocked:
		if p.stored {
			p.shim.store.DeleteDevice(p.addr)
			p.stored = false
		}
		return
	}
	p.shim.store.SetDevice(p.addr, p.st)
	p.stored = true
}

// changed marks Device1 properties on every adapter's object.
func (p *peer) changed(props ...string) {
	for _, d := range p.devices {
		d.changed(props...)
	}
}

// alias is Device1.Alias: the user's, else the name, else the address with dashes.
func (p *peer) alias() string {
	switch {
	case p.st.Alias != "":
		return p.st.Alias
	case p.st.Name != "":
		return p.st.Name
	}
	return p.addr.Dashed()
}

// setName takes a name that was advertised or read.
func (p *peer) setName(raw string) {
	name := ble.CleanName(raw)
	if name == "" || name == p.st.Name {
		return
	}
	p.st.Name = name
	p.shim.names.remember(p)
	p.changed("Name")
	if p.st.Alias == "" {
		p.changed("Alias")
	}
	p.save()
}

func (p *peer) setAppearance(v uint16) {
	if v == 0 || v == p.st.Appearance {
		return
	}
	p.st.Appearance = v
	p.changed("Appearance", "Icon")
	p.save()
}

// busy: there is a link, or there may soon be one.
func (p *peer) busy() bool { return p.connected || p.connecting != nil }

func (p *peer) paired() bool { return p.st.Bonded && !p.heldPaired }

func (p *peer) clientGone(sender string) {
	if p.pairSender == sender && p.pairing != nil {
		p.cancelPairing()
	}
	for _, c := range p.chars {
		c.dropSession(sender)
		c.dropAcquired(sender)
	}
}

func (p *peer) closePipes() {
	for _, c := range p.chars {
		c.closePipes()
	}
}
