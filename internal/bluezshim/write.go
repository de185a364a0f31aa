package bluezshim

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

const attHeader = 3 // octets of a Write Request or Command that are not value

// writeValue is GattCharacteristic1.WriteValue; the tests are in bluetoothd 5.87's order.
func (c *char) writeValue(call *dbusobj.Call) {
	p := c.peer()
	value := call.Body[0].([]byte)
	offset, typ, err := parseOptions(call.Body[1])
	switch {
	case !p.connected:
		errDisconnected.to(call)
		return
	case c.writeAcquired():
		errNotPermitted("Write acquired").to(call)
		return
	case c.writing:
		errInProgress.to(call)
		return
	case err != nil:
		errInvalidArguments.to(call)
		return
	case c.svc.readOnly():
		errNotAuthorized.to(call)
		return
	}
	switch c.writeType(typ) {
	case "reliable":
		// The native API has no prepared write; a request is split by the proxy where it must be.
		if len(value) == 0 {
			errInitiate.to(call)
			return
		}
		c.writeRequest(call, value, offset)
	case "request":
		c.writeRequest(call, value, offset)
	case "command":
		c.writeCommand(call, value, offset)
	default:
		errNotSupported.to(call)
	}
}

// writeType chooses what a WriteValue without type does; other types are taken as they are, whatever the flags.
func (c *char) writeType(typ string) string {
	if typ != "" {
		return typ
	}
	switch {
	case c.def.Extended.Has(ble.ExtReliableWrite):
		return "reliable"
	case c.def.Properties.Has(ble.PropWrite):
		return "request"
	case c.def.Properties.Has(ble.PropWriteWithoutResponse):
		return "command"
	}
	return ""
}

func (c *char) writeRequest(call *dbusobj.Call, value []byte, offset int) {
	if e := unwritable(value, offset); e != nil {
		e.to(call)
		return
	}
	p := c.peer()
	c.writing = true
	c.links().Do(p.addr, ble.Operation{Kind: ble.OpWrite, Table: p.db, Handle: c.def.ValueHandle, Value: value}, func(_ []byte, err error) {
		p.shim.post(func() {
			c.writing = false
			replyWrite(call, err)
			p.afterError(err)
		})
	})
}

func (c *char) writeCommand(call *dbusobj.Call, value []byte, offset int) {
	p := c.peer()
	switch {
	case offset != 0:
		errNotSupported.to(call)
	case len(value) > p.mtu-attHeader:
		errInitiate.to(call)
	default:
		c.links().Do(p.addr, ble.Operation{Kind: ble.OpWriteCommand, Table: p.db, Handle: c.def.ValueHandle, Value: value}, func(_ []byte, err error) {
			p.shim.post(func() {
				if err != nil {
					errInitiate.to(call)
					return
				}
				call.Reply()
			})
		})
	}
}

// unwritable says what a peripheral would: the native API cannot write at an offset, and no attribute is
// longer than 512 octets.
func unwritable(value []byte, offset int) *dbusError {
	switch {
	case len(value)+offset > ble.MaxAttribute:
		return &errInvalidLength
	case offset != 0:
		return &errInvalidOffset
	}
	return nil
}

func replyWrite(call *dbusobj.Call, err error) {
	if err != nil {
		operationError(err).to(call)
		return
	}
	call.Reply()
}
