// Package bus finds or starts the bus on which org.bluez is published: the system's, another one, a private one that we
// run ourselves, or none. It connects the tree to that bus and owns the name there.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/privatebus"
)

// Name is the name that BlueZ clients look for.
const Name = "org.bluez"

// A Bus is where org.bluez is published.
type Bus struct {
	which   config.Bus
	address string
	// private is the one that we run ourselves, nil for others.
	private *privatebus.Bus
}

// Open finds the bus, or starts the private one, which nobody else can find before Own. It returns a
// *dbusobj.NameTakenError if another process runs the private bus.
func Open(ctx context.Context, which config.Bus, log *slog.Logger) (*Bus, error) {
	switch which {
	case config.BusPrivate:
		b, err := privatebus.Reserve(ctx, privatebus.DefaultPath(), log)
		if used := new(privatebus.InUseError); errors.As(err, &used) {
			return nil, dbusobj.TakenBy(Name, used.Owner, used.PID)
		}
		if err != nil {
			return nil, err
		}
		return &Bus{which, b.Address, b}, nil
	case config.BusSystem:
		return &Bus{which: which, address: systemAddress()}, nil
	case config.BusNone:
		return &Bus{which: which}, nil
	}
	return &Bus{which: which, address: string(which)}, nil
}

// systemAddress is where the system bus listens; DBUS_SYSTEM_BUS_ADDRESS counts, as for every client.
func systemAddress() string {
	if a := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); a != "" {
		return a
	}
	return "unix:path=/var/run/dbus/system_bus_socket"
}

// Address is where clients find the bus; it is empty with config.BusNone.
func (b *Bus) Address() string { return b.address }

// Close ends the private bus; others are not touched.
func (b *Bus) Close() {
	if b.private != nil {
		b.private.Stop()
	}
}

// Config says how the tree is connected. Logger and Served must not be nil.
type Config struct {
	Logger   *slog.Logger
	Answered func(iface, member, errName string) // see dbusobj.Config; may be nil
	// Served is told false when the bus is lost, and true when the tree is on it again.
	Served func(bool)
}

// Dial connects a tree to the bus. Without a bus the tree is there all the same, and nobody sees it.
func (b *Bus) Dial(ctx context.Context, cfg Config) (*dbusobj.Conn, error) {
	if b.which == config.BusNone {
		return dbusobj.Detached(dbusobj.Config{Logger: cfg.Logger}), nil
	}
	conn, err := dbusobj.Dial(ctx, dbusobj.Config{
		Address: b.dialAddress(), Logger: cfg.Logger, Answered: cfg.Answered, Reconnect: b.reconnect(cfg),
	})
	if err != nil {
		return nil, advise(b.which, err)
	}
	return conn, nil
}

// Own takes org.bluez: from here on clients come. It returns a *dbusobj.NameTakenError if somebody else owns the name.
func (b *Bus) Own(ctx context.Context, conn *dbusobj.Conn) error {
	if b.which == config.BusNone {
		return nil
	}
	if err := conn.RequestName(ctx, Name); err != nil {
		if taken := new(dbusobj.NameTakenError); errors.As(err, &taken) {
			return err
		}
		return advise(b.which, err)
	}
	return b.publish()
}

// dialAddress is where we connect ourselves.
func (b *Bus) dialAddress() string {
	if b.private != nil {
		return b.private.Hidden()
	}
	return b.address
}

// publish lets clients find the private bus, once org.bluez is owned on it.
func (b *Bus) publish() error {
	if b.private != nil {
		return b.private.Publish()
	}
	return nil
}

// reconnect lets the daemon outlive its bus: sessions with proxies and links stay, what clients had ends as if each of
// them had left, and the tree is there again with the bus. A private bus is started anew, whatever became of the old
// one: on that nobody can own a name any more, and somebody might wait for ours.
func (b *Bus) reconnect(cfg Config) *dbusobj.Reconnect {
	r := &dbusobj.Reconnect{
		Name: Name, Owned: b.publish,
		Lost: func(cause error) {
			cfg.Served(false)
			cfg.Logger.Error("Lost the bus; connecting to it again, the proxies stay connected", "bus", b.address, "error", cause)
		},
		Back: func() {
			cfg.Served(true)
			cfg.Logger.Info("org.bluez is ours again", "bus", b.address)
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

// advise says what to do about a bus that cannot be used; err names its address.
func advise(which config.Bus, err error) error {
	switch which {
	case config.BusSystem:
		return fmt.Errorf("%w; where there is no system bus, or you may not own org.bluez on it, --bus private starts one", err)
	case config.BusPrivate:
		return err
	}
	return fmt.Errorf("%w; a D-Bus daemon has to run there, --bus private starts one", err)
}
