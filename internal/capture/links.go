package capture

import (
	"context"
	"encoding/binary"
	"errors"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/btsnoop"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/h4"
)

// Commands of the host (Bluetooth Core, Vol 4 Part E, 7.1 and 7.8).
const (
	cmdDisconnect       = 0x0406
	cmdCreateConnection = 0x200d
	cmdCancel           = 0x200e
	cmdUpdate           = 0x2013
)

// Statuses and reasons (Bluetooth Core, Vol 1 Part F, 1.3).
const (
	statusCancelled  = 0x02
	reasonTimeout    = 0x08
	reasonRemote     = 0x13
	reasonNotMade    = 0x3e
	statusLinkFailed = reasonNotMade
)

// Connection handles go round.
const (
	firstHandle = 0x0040
	lastHandle  = 0x0eff
)

// link is a link of a proxy, or an attempt at one. Its fields are under Tap.mu.
type link struct {
	proxy  *proxy
	addr   ble.Address
	typ    ble.AddressType
	up     bool
	handle uint16
	size   int // ATT_MTU
	db     *ble.Database
	cccds  map[uint16]byte // what was written, by the handle of the descriptor
}

func (t *Tap) linkLocked(id string, a ble.Address) *link {
	p := t.proxyLocked(id)
	l := p.links[a]
	if l == nil {
		l = &link{proxy: p, addr: a, size: ble.MinMTU, cccds: map[uint16]byte{}}
		p.links[a] = l
	}
	return l
}

// upLocked is the link to a that is up, or nil.
func (t *Tap) upLocked(id string, a ble.Address) *link {
	if p := t.proxies[id]; p != nil {
		if l := p.links[a]; l != nil && l.up {
			return l
		}
	}
	return nil
}

// connecting: a proxy is asked for a link.
func (t *Tap) connecting(id string, a ble.Address, typ ble.AddressType) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.linkLocked(id, a)
	l.typ = typ
	if !l.up {
		t.eachLocked(l, func(r *reader) { r.connecting(l) })
	}
}

// LinkReport is what a proxy says of a link (ESPHome native API, message 69): that it came up, with its MTU if that is
// known, or that it ended, with the code.
func (t *Tap) LinkReport(id string, a ble.Address, connected bool, mtu int, code int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if connected {
		t.upgradeLocked(t.linkLocked(id, a), mtu)
		return
	}
	l := t.upLocked(id, a)
	if l == nil {
		return // the answer to an attempt, see connectFailed
	}
	delete(l.proxy.links, a)
	reason := byte(reasonRemote)
	if code > 0 && code <= 0xff {
		reason = byte(code)
	}
	t.eachLocked(l, func(r *reader) { r.disconnected(l, reason) })
}

// upgradeLocked: the link is up, if that is new, with that MTU, if that is known.
func (t *Tap) upgradeLocked(l *link, mtu int) {
	if !l.up {
		l.up, l.handle = true, l.proxy.newHandle()
		t.eachLocked(l, func(r *reader) { r.connected(l) })
	}
	if mtu > ble.MinMTU && mtu != l.size {
		l.size = min(mtu, ble.MaxMTU)
		t.eachLocked(l, func(r *reader) { r.mtu(l) })
	}
}

// sized: a proxy told the MTU of a link.
func (t *Tap) sized(id string, a ble.Address, mtu int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.upLocked(id, a); l != nil {
		t.upgradeLocked(l, mtu)
	}
}

func (p *proxy) newHandle() uint16 {
	h := p.next
	if p.next++; p.next > lastHandle {
		p.next = firstHandle
	}
	return h
}

// connectFailed: an attempt failed, or was called off.
func (t *Tap) connectFailed(id string, a ble.Address, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.linkLocked(id, a)
	if l.up {
		return
	}
	delete(l.proxy.links, a)
	status := byte(statusLinkFailed)
	var result gatt.ConnectResultError
	called := errors.Is(err, context.Canceled) || errors.Is(err, ble.ErrCanceled) || errors.Is(err, context.DeadlineExceeded)
	if errors.As(err, &result) {
		called = false
		if c := result.ConnectCode(); c > 0 && c < 0x46 { // the highest of HCI
			status = byte(c)
		}
	}
	t.eachLocked(l, func(r *reader) {
		if called {
			r.event(l.proxy, cmdCancel, nil, h4.EventCommandComplete, 1, cmdCancel&0xff, cmdCancel>>8, 0)
			status = statusCancelled
		}
		r.complete(l, status)
		r.log(l, "no link: "+err.Error())
	})
}

// disconnecting: a proxy is asked to end a link.
func (t *Tap) disconnecting(id string, a ble.Address) {
	t.note(id, a, func(r *reader, l *link) {
		r.command(l.proxy, cmdDisconnect, byte(l.handle), byte(l.handle>>8), reasonRemote)
	})
}

// note has f write for each reader that wants the link to a, if that is up.
func (t *Tap) note(id string, a ble.Address, f func(r *reader, l *link)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.upLocked(id, a); l != nil {
		t.eachLocked(l, func(r *reader) { f(r, l) })
	}
}

// command writes a command with its Command Status.
func (r *reader) command(p *proxy, op uint16, params ...byte) {
	r.event(p, op, params, h4.EventCommandStatus, 0, 1, byte(op), byte(op>>8))
}

// event writes a command and an event.
func (r *reader) event(p *proxy, op uint16, params []byte, code byte, answer ...byte) {
	r.put(p, btsnoop.Command, btsnoop.CommandData(op, params...))
	r.put(p, btsnoop.Event, btsnoop.EventData(code, answer...))
}

// connecting writes LE Create Connection. The intervals are those of the ESP's stack; the proxy does not tell them.
func (r *reader) connecting(l *link) {
	params := append([]byte{0x60, 0, 0x60, 0, 0, byte(h4.WireType(l.typ))}, h4.AppendAddress(nil, r.address(l.addr))...)
	r.command(l.proxy, cmdCreateConnection, append(params, 0, 0x06, 0, 0x06, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0)...)
}

func (r *reader) connected(l *link) { r.complete(l, 0) }

// complete writes LE Connection Complete.
func (r *reader) complete(l *link, status byte) {
	b := []byte{h4.MetaConnection, status, byte(l.handle), byte(l.handle >> 8), 0, byte(h4.WireType(l.typ))}
	b = h4.AppendAddress(b, r.address(l.addr))
	r.put(l.proxy, btsnoop.Event, btsnoop.EventData(h4.EventMeta, append(b, 0x06, 0, 0, 0, 0xe8, 3, 0)...))
}

func (r *reader) disconnected(l *link, reason byte) {
	if l.up {
		r.put(l.proxy, btsnoop.Event, btsnoop.EventData(h4.EventDisconnection, 0, byte(l.handle), byte(l.handle>>8), reason))
	}
}

// encrypted writes that the link is encrypted. The command before it would have the key.
func (r *reader) encrypted(l *link) {
	r.put(l.proxy, btsnoop.Event, btsnoop.EventData(h4.EventEncryption, 0, byte(l.handle), byte(l.handle>>8), 1))
}

// updated writes a change of the connection's parameters.
func (r *reader) updated(l *link, p ble.ConnectionParams) {
	le := binary.LittleEndian
	rest := le.AppendUint16(le.AppendUint16(le.AppendUint16(nil, uint16(p.MaxInterval)), uint16(p.Latency)), uint16(p.Timeout))
	params := le.AppendUint16(le.AppendUint16(nil, l.handle), uint16(p.MinInterval))
	r.command(l.proxy, cmdUpdate, append(append(params, rest...), 0, 0, 0, 0)...)
	event := le.AppendUint16([]byte{h4.MetaConnectionUpdate, 0}, l.handle)
	r.put(l.proxy, btsnoop.Event, btsnoop.EventData(h4.EventMeta, append(event, rest...)...))
}

// log writes a text about a link, such as an error that no packet says. It is a note, and not a line of User Logging:
// Wireshark 4.0 takes those for malformed.
func (r *reader) log(l *link, text string) {
	r.put(l.proxy, btsnoop.Note, btsnoop.NoteData(r.address(l.addr).String()+": "+r.text(l.addr, text)))
}

// att writes one ATT PDU.
func (r *reader) att(l *link, received bool, pdu []byte) {
	op := btsnoop.ACLTX
	if received {
		op = btsnoop.ACLRX
	}
	r.put(l.proxy, op, btsnoop.ATTData(l.handle, received, r.payload(l.addr, pdu)))
}
