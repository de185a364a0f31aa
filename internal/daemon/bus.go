package daemon

import (
	"context"
	"fmt"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/privatebus"
)

// bus is where org.bluez is published.
type bus struct {
	address string
	// ensure, unless nil, sees to it that there is one again.
	ensure func(context.Context) error
	stop   func()
}

// openBus finds the bus, or starts the private one.
func openBus(ctx context.Context, which config.Bus) (bus, error) {
	switch which {
	case config.BusPrivate:
		b, err := privatebus.Start(ctx, privatebus.DefaultPath())
		if err != nil {
			return bus{}, err
		}
		return bus{b.Address, b.Ensure, b.Stop}, nil
	case config.BusSystem:
		return bus{address: systemBusAddress(), stop: func() {}}, nil
	}
	return bus{address: string(which), stop: func() {}}, nil
}

// reconnect lets the daemon outlive its bus: sessions with proxies and links stay, what clients had ends as if each of
// them had left, and the tree is there again with the bus. A private bus is started again.
func (d *Daemon) reconnect(b bus) *dbusobj.Reconnect {
	return &dbusobj.Reconnect{
		Name: BusName, Prepare: b.ensure,
		Lost: func(cause error) {
			d.ready.Store(false)
			d.log.Error("Lost the bus; connecting to it again, the proxies stay connected", "bus", b.address, "error", cause)
		},
		Back: func() {
			d.ready.Store(true)
			d.log.Info("org.bluez is ours again", "bus", b.address)
		},
	}
}

// busError says what to do about a bus that cannot be used; err names its address.
func busError(bus config.Bus, err error) error {
	switch bus {
	case config.BusSystem:
		return fmt.Errorf("%w; where there is no system bus, or you may not own org.bluez on it, --bus private starts one", err)
	case config.BusPrivate:
		return err
	}
	return fmt.Errorf("%w; a D-Bus daemon has to run there, --bus private starts one", err)
}
