package bluezshim

import (
	"context"
	"errors"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

// extensionTimeout bounds a call of our own interface on a proxy.
const extensionTimeout = 30 * time.Second

// newExtensionInterface makes org.bluez_esphome.Device1: what proxies can do and BlueZ has no method for, who hears the
// device, and what became of the last calls of Connect. None of its properties is signalled.
func newExtensionInterface(cfg Config) *dbusobj.Interface {
	properties := []dbusobj.Property{{Name: "Sources", Type: "aa{sv}", Get: encodeSources}}
	if cfg.Connects != nil {
		properties = append(properties, dbusobj.Property{Name: "Connects", Type: "aa{sv}", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) {
			cfg.Connects(ofDevice(o).peer.addr, e)
		}})
	}
	if cfg.LastError != nil {
		properties = append(properties, dbusobj.Property{Name: "LastError", Type: "s", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) {
			e.String(cfg.LastError(ofDevice(o).peer.addr))
		}})
	}
	return &dbusobj.Interface{
		Name: "org.bluez_esphome.Device1",
		Methods: []dbusobj.Method{
			{Name: "ClearCache", Out: []dbusobj.Arg{{Name: "cleared", Type: "b"}}, Call: deviceMethod((*device).clearCache)},
			{
				Name: "SetConnectionParams",
				In:   []dbusobj.Arg{{Name: "min", Type: "q"}, {Name: "max", Type: "q"}, {Name: "latency", Type: "q"}, {Name: "timeout", Type: "q"}},
				Call: deviceMethod((*device).setConnectionParams),
			},
		},
		Properties: properties,
	}
}

func (d *device) clearCache(c *dbusobj.Call) {
	d.extension(c, func(ctx context.Context) (func(*dbusobj.Encoder), error) {
		cleared, err := d.peer.shim.links.ClearCache(ctx, d.peer.addr)
		return func(e *dbusobj.Encoder) { e.Bool(cleared) }, err
	})
}

// setConnectionParams takes what ble.ConnectionParams has, in its order and units.
func (d *device) setConnectionParams(c *dbusobj.Call) {
	params := ble.ConnectionParams{
		MinInterval: c.Body[0].(uint16), MaxInterval: c.Body[1].(uint16), Latency: c.Body[2].(uint16), Timeout: c.Body[3].(uint16),
	}
	switch {
	case params.Check() != nil:
		errInvalidArguments.to(c)
	case !d.peer.connected:
		errNotConnected.to(c)
	default:
		d.extension(c, func(ctx context.Context) (func(*dbusobj.Encoder), error) {
			return nil, d.peer.shim.links.SetConnectionParams(ctx, d.peer.addr, params)
		})
	}
}

// extension runs f beside the loop, one at a time for each device, and answers the call with what comes of it.
func (d *device) extension(c *dbusobj.Call, f func(context.Context) (func(*dbusobj.Encoder), error)) {
	p := d.peer
	if p.extending != nil {
		errInProgress.to(c)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), extensionTimeout)
	p.extending = cancel
	p.shim.spawn(func() {
		defer cancel()
		reply, err := f(ctx)
		p.shim.post(func() {
			p.extending = nil
			switch {
			case errors.Is(err, ble.ErrNotConnected):
				errNotConnected.to(c)
			case err != nil:
				errFailed(err.Error()).to(c)
			case reply != nil:
				c.Reply(reply)
			default:
				c.Reply()
			}
		})
	})
}

func encodeSources(o *dbusobj.Object, e *dbusobj.Encoder) {
	d := ofDevice(o)
	e.Array("a{sv}", func() {
		for _, s := range d.adapter.cfg.Air.Sources(d.peer.addr) {
			e.Array("{sv}", func() {
				if d.peer.shim.proxy != nil {
					e.Entry(func() { e.String("Proxy"); e.Variant("o", func() { e.ObjectPath(d.peer.shim.proxy(s.Proxy)) }) })
				}
				e.Entry(func() { e.String("RSSI"); e.Variant("n", func() { e.Int16(int16(s.RSSI)) }) })
				e.Entry(func() { e.String("LastHeard"); e.Variant("t", func() { e.Uint64(uint64(s.LastHeard.Unix())) }) })
				e.Entry(func() { e.String("IntervalMs"); e.Variant("u", func() { e.Uint32(uint32(s.Interval.Milliseconds())) }) })
				e.Entry(func() { e.String("Owner"); e.Variant("b", func() { e.Bool(s.Owner) }) })
			})
		}
	})
}
