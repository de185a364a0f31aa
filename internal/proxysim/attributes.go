package proxysim

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

// security is what an attribute asks of the link.
type security uint8

const (
	securityNone security = iota
	securityEncryption
	securityAuthentication // satisfied by Just Works here, as many devices do
	securityAuthorization  // never granted
)

// attribute is one value that can be read or written: a characteristic value
// or a descriptor.
type attribute struct {
	handle     uint16
	properties ble.Properties // read and write flags; a descriptor has them too
	value      []byte
	original   []byte
	security   security
	delay      time.Duration
	readError  ble.ATTError
	writeError ble.ATTError
	cccdOf     uint16 // the value handle whose CCCD this is, else 0
}

// timedNotification is a characteristic that changes by itself.
type timedNotification struct {
	handle uint16
	every  time.Duration
	values []HexBytes
}

// attributeTable is the GATT server of one peripheral.
type attributeTable struct {
	services []ble.Service // as discovery finds them
	byHandle map[uint16]*attribute
	cccds    []*attribute // by handle
	timed    []timedNotification
}

var propertyNames = map[string]ble.Properties{
	"broadcast": ble.PropBroadcast, "read": ble.PropRead, "write": ble.PropWrite,
	"write-without-response": ble.PropWriteWithoutResponse, "notify": ble.PropNotify,
	"indicate": ble.PropIndicate, "authenticated-signed-writes": ble.PropSignedWrite,
	"extended-properties": ble.PropExtended,
}

// tableBuilder gives out handles, which have to rise.
type tableBuilder struct {
	t    *attributeTable
	last uint16
}

func (b *tableBuilder) handle(want uint16) (uint16, error) {
	if want == 0 {
		want = b.last + 1
	}
	if want <= b.last || want == 0 {
		return 0, fmt.Errorf("handle %d does not follow %d", want, b.last)
	}
	b.last = want
	return want, nil
}

func newAttributeTable(spec GATTSpec) (*attributeTable, error) {
	b := &tableBuilder{t: &attributeTable{byHandle: map[uint16]*attribute{}}}
	for _, s := range spec.Services {
		if err := b.service(s); err != nil {
			return nil, fmt.Errorf("service %s: %w", s.UUID, err)
		}
	}
	slices.SortFunc(b.t.cccds, func(x, y *attribute) int { return cmp.Compare(x.handle, y.handle) })
	return b.t, nil
}

func (b *tableBuilder) service(s ServiceSpec) error {
	h, err := b.handle(s.Handle)
	if err != nil {
		return err
	}
	out := ble.Service{Handle: h, UUID: s.UUID}
	for _, inc := range s.Includes {
		if _, err := b.handle(inc.Handle); err != nil {
			return err
		}
	}
	for _, c := range s.Characteristics {
		ch, err := b.characteristic(c)
		if err != nil {
			return fmt.Errorf("characteristic %s: %w", c.UUID, err)
		}
		out.Characteristics = append(out.Characteristics, ch)
	}
	out.EndHandle = max(b.last, s.EndHandle)
	b.t.services = append(b.t.services, out)
	return nil
}

func (b *tableBuilder) characteristic(c CharSpec) (ble.Characteristic, error) {
	out := ble.Characteristic{UUID: c.UUID}
	var err error
	out.Handle, err = b.handle(c.Handle)
	if err != nil {
		return out, err
	}
	out.ValueHandle, err = b.handle(c.ValueHandle)
	if err != nil {
		return out, err
	}
	for _, name := range c.Properties {
		p, ok := propertyNames[name]
		if !ok {
			return out, fmt.Errorf("property %q is not known", name)
		}
		out.Properties |= p
	}
	a := &attribute{
		handle: out.ValueHandle, properties: out.Properties, value: c.Value, original: c.Value,
		delay:     time.Duration(c.DelayMS) * time.Millisecond,
		readError: ble.ATTError(c.ReadError), writeError: ble.ATTError(c.WriteError),
	}
	cccdSecurity := securityNone
	switch c.Security {
	case "":
	case "encryption":
		a.security = securityEncryption
	case "authentication":
		a.security = securityAuthentication
	case "authorization":
		a.security = securityAuthorization
	case "encryption_cccd":
		cccdSecurity = securityEncryption
	default:
		return out, fmt.Errorf("security %q is not known", c.Security)
	}
	if len(a.value) > ble.MaxAttribute {
		return out, fmt.Errorf("value of %d bytes is longer than %d", len(a.value), ble.MaxAttribute)
	}
	b.t.byHandle[a.handle] = a
	for _, d := range c.Descriptors {
		da, err := b.descriptor(d)
		if err != nil {
			return out, err
		}
		if d.UUID == ble.UUIDCCCD {
			da.cccdOf, da.security = out.ValueHandle, cccdSecurity
			b.t.cccds = append(b.t.cccds, da)
		}
		out.Descriptors = append(out.Descriptors, ble.Descriptor{Handle: da.handle, UUID: d.UUID})
	}
	if c.NotifyEveryMS > 0 {
		b.t.timed = append(b.t.timed, timedNotification{
			handle: out.ValueHandle, values: c.NotifyValues,
			every: time.Duration(c.NotifyEveryMS) * time.Millisecond,
		})
	}
	return out, nil
}

func (b *tableBuilder) descriptor(d DescSpec) (*attribute, error) {
	h, err := b.handle(d.Handle)
	if err != nil {
		return nil, err
	}
	if len(d.Value) > ble.MaxAttribute {
		return nil, fmt.Errorf("value of %d bytes is longer than %d", len(d.Value), ble.MaxAttribute)
	}
	a := &attribute{
		handle: h, properties: ble.PropRead, value: d.Value, original: d.Value,
		readError: ble.ATTError(d.ReadError), writeError: ble.ATTError(d.WriteError),
	}
	if d.Writable {
		a.properties |= ble.PropWrite
	}
	b.t.byHandle[h] = a
	return a, nil
}

// restore gives every attribute its first value again.
func (t *attributeTable) restore() {
	for _, a := range t.byHandle {
		a.value = a.original
	}
}

// check gives the error with which a link that is encrypted or not is refused.
func (a *attribute) check(encrypted bool) ble.ATTError {
	switch {
	case a.security == securityAuthorization:
		return ble.ATTAuthorization
	case a.security == securityEncryption && !encrypted:
		return ble.ATTEncryption
	case a.security == securityAuthentication && !encrypted:
		return ble.ATTAuthentication
	}
	return 0
}

// read answers a read request on l; an error of 0 is success.
func (t *attributeTable) read(l *link, handle uint16) ([]byte, ble.ATTError) {
	a := t.byHandle[handle]
	switch {
	case a == nil:
		return nil, ble.ATTInvalidHandle
	case a.readError != 0:
		return nil, a.readError
	case !a.properties.Has(ble.PropRead):
		return nil, ble.ATTReadNotPermitted
	case a.cccdOf != 0:
		return binary.LittleEndian.AppendUint16(nil, l.cccd[handle]), 0
	}
	if e := a.check(l.encrypted); e != 0 {
		return nil, e
	}
	return a.value, 0
}

// write answers a write request on l, or, with command, does a write command,
// whose error nobody hears of. An error of 0 is success.
func (t *attributeTable) write(l *link, handle uint16, value []byte, command bool) ble.ATTError {
	a := t.byHandle[handle]
	need := ble.PropWrite
	if command {
		need = ble.PropWriteWithoutResponse
	}
	switch {
	case a == nil:
		return ble.ATTInvalidHandle
	case a.writeError != 0:
		return a.writeError
	case a.cccdOf != 0:
		return a.writeCCCD(l, value)
	case !a.properties.Has(need):
		return ble.ATTWriteNotPermitted
	case len(value) > ble.MaxAttribute:
		return ble.ATTInvalidLength
	}
	if e := a.check(l.encrypted); e != 0 {
		return e
	}
	a.value = slices.Clone(value)
	l.p.record(handle, a.value)
	return 0
}

func (a *attribute) writeCCCD(l *link, value []byte) ble.ATTError {
	if len(value) != 2 {
		return ble.ATTInvalidLength
	}
	if e := a.check(l.encrypted); e != 0 {
		return e
	}
	l.cccd[a.handle] = binary.LittleEndian.Uint16(value)
	l.p.enabled(l, a)
	return 0
}
