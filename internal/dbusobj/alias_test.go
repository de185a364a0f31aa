package dbusobj

import (
	"testing"

	"github.com/godbus/dbus/v5"
)

// Old paths go on answering; nobody who lists objects finds them.
func TestAlias(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := client(t, s.addr)
	s.do(func() {
		s.Alias("/old/ours", "/ours")
		s.Add("/ours/a", &thing{name: "a"}, ifaceMain())
		s.Add("/ours", &thing{name: "top"}, ifaceMain())
	})
	name := func(path dbus.ObjectPath) string {
		var v dbus.Variant
		if err := c.Object(testName, path).Call("org.freedesktop.DBus.Properties.Get", 0, mainName, "Name").Store(&v); err != nil {
			return err.(dbus.Error).Name
		}
		return v.Value().(string)
	}
	const unknown = "org.freedesktop.DBus.Error.UnknownObject"
	for path, want := range map[dbus.ObjectPath]string{
		"/ours/a": "a", "/old/ours/a": "a", "/old/ours": "top", "/old/ours/b": unknown, "/old/oursa": unknown, "/old": unknown, "/older/ours/a": unknown,
	} {
		if got := name(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	var objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant
	if err := c.Object(testName, "/").Call("org.freedesktop.DBus.ObjectManager.GetManagedObjects", 0).Store(&objects); err != nil {
		t.Fatal(err)
	}
	for path := range objects {
		if path != "/ours" && path != "/ours/a" {
			t.Errorf("%s is listed", path)
		}
	}
	s.do(func() { s.Add("/old/ours/a", &thing{name: "real"}, ifaceMain()) })
	if got := name("/old/ours/a"); got != "real" {
		t.Errorf("an object of that path is hidden by the alias: %s", got)
	}
}
