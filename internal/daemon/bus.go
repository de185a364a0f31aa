package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/privatebus"
)

// bus is where org.bluez is published.
type bus struct {
	which   config.Bus
	address string // for clients; empty with config.BusNone
	// private is the one that we run ourselves, nil for others.
	private *privatebus.Bus
}

// openBus finds the bus, or starts the private one, which nobody else can find before org.bluez is owned on it.
func openBus(ctx context.Context, which config.Bus, log *slog.Logger) (bus, error) {
	switch which {
	case config.BusPrivate:
		b, err := privatebus.Reserve(ctx, privatebus.DefaultPath(), log)
		if used := new(privatebus.InUseError); errors.As(err, &used) {
			return bus{}, dbusobj.TakenBy(BusName, used.Owner, used.PID)
		}
		if err != nil {
			return bus{}, err
		}
		return bus{which, b.Address, b}, nil
	case config.BusSystem:
		return bus{which: which, address: systemBusAddress()}, nil
	case config.BusNone:
		return bus{which: which}, nil
	}
	return bus{which: which, address: string(which)}, nil
}

// dial connects the tree of the Daemon to the bus. Without a bus the tree is there all the same, and nobody sees it.
func (b bus) dial(ctx context.Context, d *Daemon) (*dbusobj.Conn, error) {
	if b.which == config.BusNone {
		return dbusobj.Detached(dbusobj.Config{Logger: d.log}), nil
	}
	conn, err := dbusobj.Dial(ctx, dbusobj.Config{
		Address: b.dialAddress(), Logger: d.log, Answered: d.answered(), Reconnect: d.reconnect(b),
	})
	if err != nil {
		return nil, busError(b.which, err)
	}
	return conn, nil
}

// own takes org.bluez.
func (b bus) own(ctx context.Context, conn *dbusobj.Conn) error {
	if b.which == config.BusNone {
		return nil
	}
	if err := conn.RequestName(ctx, BusName); err != nil {
		if taken := new(dbusobj.NameTakenError); errors.As(err, &taken) {
			return err
		}
		return busError(b.which, err)
	}
	return b.owned()
}

// servedAs is what the log says once everything is at work.
func (d *Daemon) servedAs() string {
	if d.config().Bus == config.BusNone {
		return "At work without a bus"
	}
	return "org.bluez is ours"
}

// dialAddress is where we connect ourselves.
func (b bus) dialAddress() string {
	if b.private != nil {
		return b.private.Hidden()
	}
	return b.address
}

// owned is called once org.bluez is ours: now clients may come.
func (b bus) owned() error {
	if b.private != nil {
		return b.private.Publish()
	}
	return nil
}

func (b bus) stop() {
	if b.private != nil {
		b.private.Stop()
	}
}

// reconnect lets the daemon outlive its bus: sessions with proxies and links stay, what clients had ends as if each of
// them had left, and the tree is there again with the bus. A private bus is started anew, whatever became of the old
// one: on that nobody can own a name any more, and somebody might wait for ours.
func (d *Daemon) reconnect(b bus) *dbusobj.Reconnect {
	r := &dbusobj.Reconnect{
		Name: BusName, Owned: b.owned,
		Lost: func(cause error) {
			d.ready.Store(false)
			d.log.Error("Lost the bus; connecting to it again, the proxies stay connected", "bus", b.address, "error", cause)
		},
		Back: func() {
			d.ready.Store(true)
			d.log.Info("org.bluez is ours again", "bus", b.address)
		},
	}
	if b.private != nil {
		r.Prepare = func(ctx context.Context) (string, error) {
			err := b.private.Renew(ctx)
			return b.private.Hidden(), err
		}
	}
	return r
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
