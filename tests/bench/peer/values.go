package peer

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/godbus/dbus/v5"
)

// tree is what GetManagedObjects returns.
type tree = map[dbus.ObjectPath]map[string]map[string]dbus.Variant

// property is one property in the records of the server.
type property struct {
	name  string
	value any
}

type object struct {
	path       dbus.ObjectPath
	interfaces map[string][]property
}

// Values copies the objects that org.bluez has now, and serves them with Conn.Export: for each GetManagedObjects it
// makes the maps of variants from its records and returns them. It prints READY and its name, and ends with in.
func Values(_ context.Context, bus string, in io.Reader, out io.Writer) error {
	conn, err := dbus.Connect(bus)
	if err != nil {
		return err
	}
	defer conn.Close()
	var now tree
	if err := conn.Object("org.bluez", "/").Call("org.freedesktop.DBus.ObjectManager.GetManagedObjects", 0).Store(&now); err != nil {
		return err
	}
	s := &values{}
	for path, ifaces := range now {
		o := object{path: path, interfaces: map[string][]property{}}
		for name, props := range ifaces {
			for p, v := range props {
				o.interfaces[name] = append(o.interfaces[name], property{p, v.Value()})
			}
		}
		s.objects = append(s.objects, o)
	}
	if err := conn.Export(s, "/", "org.freedesktop.DBus.ObjectManager"); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, "READY", conn.Names()[0]); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

type values struct{ objects []object }

// GetManagedObjects is org.freedesktop.DBus.ObjectManager's.
func (s *values) GetManagedObjects() (tree, *dbus.Error) {
	t := make(tree, len(s.objects))
	for i := range s.objects {
		o := &s.objects[i]
		ifaces := make(map[string]map[string]dbus.Variant, len(o.interfaces))
		for name, props := range o.interfaces {
			m := make(map[string]dbus.Variant, len(props))
			for _, p := range props {
				m[p.name] = dbus.MakeVariant(p.value)
			}
			ifaces[name] = m
		}
		t[o.path] = ifaces
	}
	return t, nil
}

// Allocated tells how many bytes the process has allocated so far.
func (s *values) Allocated() (uint64, *dbus.Error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc, nil
}
