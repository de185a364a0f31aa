package dbusobj

import (
	"context"
	"sync"
	"testing"

	"bluez-esphome/internal/dbusobj/dbustest"

	"github.com/google/go-cmp/cmp"
)

// Each answered call is told once, with its error; names that a client made up are not passed on.
func TestAnswered(t *testing.T) {
	t.Parallel()
	addr := dbustest.Start(t)
	var mu sync.Mutex
	got := map[string]int{}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := Dial(ctx, Config{Address: addr, Answered: func(iface, member, errName string) {
		mu.Lock()
		defer mu.Unlock()
		got[iface+"|"+member+"|"+errName]++
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.RequestName(ctx, testName); err != nil {
		t.Fatal(err)
	}
	c.Add("/x", &thing{}, ifaceMain())
	run(t, addr, c, new(lockedBuffer))
	cl := client(t, addr)
	o := cl.Object(testName, "/")
	for _, m := range []string{
		"org.freedesktop.DBus.ObjectManager.GetManagedObjects", "org.freedesktop.DBus.ObjectManager.GetManagedObjects",
		"org.freedesktop.DBus.Peer.Ping", "evil.Interface.Method", "org.freedesktop.DBus.Peer.Evil",
	} {
		o.Call(m, 0)
	}
	if err := cl.Object(testName, "/x").Call("org.freedesktop.DBus.Properties.Get", 0, "none.There", "X").Err; err == nil {
		t.Error("a property of nothing was read")
	}
	mu.Lock()
	defer mu.Unlock()
	want := map[string]int{
		"org.freedesktop.DBus.ObjectManager|GetManagedObjects|": 2, "org.freedesktop.DBus.Peer|Ping|": 1,
		"||" + errUnknownMethod: 2, "org.freedesktop.DBus.Properties|Get|" + errInvalidArgs: 1,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
