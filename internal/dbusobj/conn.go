package dbusobj

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/godbus/dbus/v5"
)

type Config struct {
	Address string
	Logger  *slog.Logger
}
type Conn struct{}

func panicError(r any) error { return fmt.Errorf("panic: %v", r) }

var errTODO = errors.New("not there yet")

type NameTakenError struct {
	Name, Owner string
	PID         uint32
	Command     string
}

func (e *NameTakenError) Error() string { return e.Name }

func Dial(ctx context.Context, cfg Config) (*Conn, error)                        { return nil, errTODO }
func (c *Conn) Close() error                                                     { return nil }
func (c *Conn) UniqueName() string                                               { return "" }
func (c *Conn) RequestName(ctx context.Context, name string) error               { return errTODO }
func (c *Conn) ReleaseName(ctx context.Context, name string) error               { return errTODO }
func (c *Conn) Run(ctx context.Context) error                                    { return errTODO }
func (c *Conn) Post(f func())                                                    {}
func (c *Conn) Do(ctx context.Context, f func()) error                           { return errTODO }
func (c *Conn) Add(path dbus.ObjectPath, data any, ifaces ...*Interface) *Object { return nil }
func (c *Conn) Remove(o *Object)                                                 {}
func (c *Conn) Object(path dbus.ObjectPath) *Object                              { return nil }
func (c *Conn) Children(path dbus.ObjectPath) []*Object                          { return nil }
func (c *Conn) Flush()                                                           {}
func (c *Conn) Call(dest string, path dbus.ObjectPath, iface, member, sig string, args func(*Encoder), timeout time.Duration, done func(body []any, err error)) {
}
func (c *Conn) WatchName(unique string, gone func()) (cancel func()) { return func() {} }
func (c *Conn) WatchSignal(sender string, path dbus.ObjectPath, iface, member string, f func(body []any)) (cancel func()) {
	return func() {}
}

type Object struct{}

func (o *Object) Path() dbus.ObjectPath                                 { return "" }
func (o *Object) Data() any                                             { return nil }
func (o *Object) Conn() *Conn                                           { return nil }
func (o *Object) AddInterface(i *Interface)                             {}
func (o *Object) RemoveInterface(i *Interface)                          {}
func (o *Object) Has(i *Interface) bool                                 { return false }
func (o *Object) Changed(i *Interface, props ...string)                 {}
func (o *Object) ChangedNow(i *Interface, prop string)                  {}
func (o *Object) Emit(i *Interface, signal string, args func(*Encoder)) {}

type Call struct {
	Sender string
	Object *Object
	Body   []any
}

func (c *Call) Reply(args ...func(*Encoder))      {}
func (c *Call) Error(name, message string)        {}
func (c *Call) TakeFD(fd dbus.UnixFD) (int, bool) { return 0, false }
