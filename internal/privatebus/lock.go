package privatebus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"bluez-esphome/internal/filelock"

	"github.com/godbus/dbus/v5"
)

// An InUseError says that another process has a private bus at the same path.
type InUseError struct {
	Address string
	Owner   string // the unique name of org.bluez's owner there, empty if unknown
	PID     uint32 // its process, 0 if unknown
}

// Error names the process.
func (e *InUseError) Error() string {
	s := fmt.Sprintf("cannot start the private bus %s: another process serves it", e.Address)
	if e.PID != 0 {
		s += fmt.Sprintf(" (pid %d)", e.PID)
	}
	return s
}

// askTimeout bounds the question who owns org.bluez on a bus that is there.
const askTimeout = 2 * time.Second

// lockPath makes path ours for as long as the file is open: the kernel lets go of the lock with the process, however it
// ends.
func lockPath(path string) (*os.File, error) {
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".lock")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the private bus: %w; its folder is to be yours", err)
	}
	err = filelock.Try(f)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, filelock.ErrLocked) {
		return nil, owner(scheme + path)
	}
	return nil, fmt.Errorf("cannot lock the private bus: %w", err)
}

// owner finds out who serves a bus, as far as it tells.
func owner(address string) *InUseError {
	e := &InUseError{Address: address}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	conn, err := dbus.Connect(address, dbus.WithContext(ctx))
	if err != nil {
		return e
	}
	defer conn.Close()
	bus := conn.BusObject()
	if bus.CallWithContext(ctx, "org.freedesktop.DBus.GetNameOwner", 0, ownedName).Store(&e.Owner) == nil {
		_ = bus.CallWithContext(ctx, "org.freedesktop.DBus.GetConnectionUnixProcessID", 0, e.Owner).Store(&e.PID)
	}
	return e
}
