package bluezshim_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"bluez-esphome/internal/bluezshim"
	"bluez-esphome/internal/dbusobj"

	"github.com/godbus/dbus/v5"
)

// rootApp is a client whose monitors are below "/", as those of bluetoothctl are.
type rootApp struct {
	t       *testing.T
	h       *harness
	conn    *dbusobj.Conn
	monitor *dbusobj.Interface
	calls   chan string
	leave   func()
}

func newRootApp(t *testing.T, h *harness) *rootApp {
	t.Helper()
	conn, err := dbusobj.Dial(context.Background(), dbusobj.Config{Address: h.addr, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	app := &rootApp{t: t, h: h, conn: conn, calls: make(chan string, 16)}
	note := func(c *dbusobj.Call) {
		app.calls <- c.Member + " " + string(c.Path)
		c.Reply()
	}
	app.monitor = &dbusobj.Interface{
		Name:    "org.bluez.AdvertisementMonitor1",
		Methods: []dbusobj.Method{{Name: "Release", Call: note}, {Name: "Activate", Call: note}},
		Properties: []dbusobj.Property{
			{Name: "Type", Type: "s", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.String("or_patterns") }},
			{
				Name: "Patterns", Type: "a(yyay)", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { patternsProp(flagsPattern).put(e) },
				Exists: func(o *dbusobj.Object) bool { return o.Path() != "/invalid" },
			},
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = conn.Run(ctx)
	}()
	app.leave = func() {
		cancel()
		<-ended
	}
	t.Cleanup(app.leave)
	return app
}

// register calls RegisterMonitor of "/" and, unless next is empty, goes on at once with another method of the adapter,
// as bluetoothctl goes on with its command. The answer to the first comes out of the channel.
func (app *rootApp) register(next string) <-chan string {
	app.t.Helper()
	return app.registerOn("/org/bluez/hci0", next)
}

func (app *rootApp) registerOn(adapter dbus.ObjectPath, next string) <-chan string {
	app.t.Helper()
	ch := make(chan string, 1)
	gone := make(chan struct{})
	app.conn.Post(func() {
		app.conn.Call("org.bluez", adapter, "org.bluez.AdvertisementMonitorManager1", "RegisterMonitor", "o",
			func(e *dbusobj.Encoder) { e.ObjectPath("/") }, 0, func(_ []any, err error) { ch <- errorLine(err) })
		if next == "" {
			close(gone)
			return
		}
		app.conn.Call("org.bluez", adapter, "org.bluez.Adapter1", next, "", nil, patience, func([]any, error) { close(gone) })
	})
	<-gone
	return ch
}

// show publishes a monitor.
func (app *rootApp) show(path dbus.ObjectPath) {
	app.conn.Post(func() { app.conn.Add(path, nil, app.monitor) })
}

// settled waits until all that was sent so far is handled, and says whether RegisterMonitor is answered.
func (app *rootApp) settled(answer <-chan string) bool {
	app.t.Helper()
	for range 3 { // the call, the list, and what follows from it
		ch := make(chan struct{})
		app.conn.Post(func() {
			app.conn.Call("org.bluez", "/", "org.freedesktop.DBus.Peer", "Ping", "", nil, patience, func([]any, error) { close(ch) })
		})
		<-ch
		app.h.do(func() {})
	}
	return len(answer) > 0
}

// TestMonitorRootInEveryOrder: who waits for RegisterMonitor's answer gets it, whatever its root is; bluetoothctl,
// which does not wait for it and has no monitors yet, gets it with its first monitor.
func TestMonitorRootInEveryOrder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		first dbus.ObjectPath // a monitor that is there before
		next  string          // a call behind RegisterMonitor
		held  bool
	}{
		{"nothing yet, waits for the answer", "", "", false},
		{"nothing yet, goes on", "", "GetDiscoveryFilters", true},
		{"nothing yet, goes on with what is refused", "", "StopDiscovery", true},
		{"a monitor, waits for the answer", "/m0", "", false},
		{"a monitor, goes on", "/m0", "GetDiscoveryFilters", false},
		{"an invalid monitor, waits for the answer", "/invalid", "", false},
		{"an invalid monitor, goes on", "/invalid", "GetDiscoveryFilters", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := start(t, 1)
			app := newRootApp(t, h)
			if tt.first != "" {
				app.show(tt.first)
			}
			answer := app.register(tt.next)
			if tt.held {
				check(t, "answered", app.settled(answer), false)
			} else {
				check(t, "answer", <-answer, "")
			}
			switch tt.first {
			case "/m0":
				check(t, "call", <-app.calls, "Activate /m0")
			case "/invalid":
				check(t, "call", <-app.calls, "Release /invalid")
			}
			app.show("/m1")
			check(t, "call", <-app.calls, "Activate /m1")
			if tt.held {
				check(t, "answer", <-answer, "")
			}
			app.show("/m2")
			check(t, "call", <-app.calls, "Activate /m2")
		})
	}
}

// TestHeldMonitorRoot is how RegisterMonitor ends if no monitor comes.
func TestHeldMonitorRoot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(h *harness, app *rootApp)
	}{
		{"after a while", func(h *harness, _ *rootApp) { h.clock.Advance(bluezshim.HoldTime) }},
		{"an invalid monitor", func(_ *harness, app *rootApp) { app.show("/invalid") }},
		{"unregistered", func(_ *harness, app *rootApp) {
			ch := make(chan error, 1)
			app.conn.Post(func() {
				app.conn.Call("org.bluez", "/org/bluez/hci0", "org.bluez.AdvertisementMonitorManager1", "UnregisterMonitor", "o",
					func(e *dbusobj.Encoder) { e.ObjectPath("/") }, patience, func(_ []any, err error) { ch <- err })
			})
			check(t, "unregister", errorLine(<-ch), "")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := start(t, 1)
			app := newRootApp(t, h)
			answer := app.register("GetDiscoveryFilters")
			check(t, "answered", app.settled(answer), false)
			tt.end(h, app)
			check(t, "answer", <-answer, "")
		})
	}
	t.Run("its client leaves", func(t *testing.T) {
		t.Parallel()
		h := start(t, 1)
		app := newRootApp(t, h)
		check(t, "answered", app.settled(app.register("GetDiscoveryFilters")), false)
		h.gone(app.conn.UniqueName(), app.leave)
		check(t, "timers", h.clock.Timers(), 0)
	})
}

// TestHeldMonitorRootOfEveryAdapter: what is held does not count as what its client has not answered.
func TestHeldMonitorRootOfEveryAdapter(t *testing.T) {
	t.Parallel()
	const adapters = bluezshim.MaxClientAsked + 2
	h := start(t, adapters)
	app := newRootApp(t, h)
	var answers []<-chan string
	for i := range adapters {
		answer := app.registerOn(dbus.ObjectPath(fmt.Sprint("/org/bluez/hci", i)), "GetDiscoveryFilters")
		check(t, "answered", app.settled(answer), false)
		answers = append(answers, answer)
	}
	app.show("/m0")
	for _, answer := range answers {
		check(t, "answer", <-answer, "")
	}
}
