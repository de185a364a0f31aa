package bluezshim_test

import (
	"context"
	"encoding/xml"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
	"bluez-esphome/internal/bluezshim/shimtest"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/links/linkstest"
	tests "bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"
)

// fuzzWorld is a shim on a fakeBus, with one device that is connected.
type fuzzWorld struct {
	*fakeBus
	shim  *bluezshim.Shim
	air   *shimtest.Air
	links *linkstest.Links
	clock *shimtest.Clock
	log   *logBuffer
	stop  func()
}

// fuzzHome is what lives as long as a fuzz target: the address of the bus, and where things are.
type fuzzHome struct {
	address string
	accept  func() *fakeBus
	null    *os.File
	paths   []dbus.ObjectPath
	members []member
}

// member is a method or a property of an object.
type member struct {
	path             dbus.ObjectPath
	iface, name      string
	in, out          string
	property, writes bool
}

func newFuzzHome(f testing.TB) *fuzzHome {
	h := &fuzzHome{}
	h.address, h.accept = listenBus(f)
	var err error
	h.null, err = os.Open(os.DevNull)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = h.null.Close() })
	w := h.start(f)
	defer w.stop()
	h.explore(f, w, "/")
	return h
}

// explore lists everything below path.
func (h *fuzzHome) explore(f testing.TB, w *fuzzWorld, path dbus.ObjectPath) {
	m := w.ask(":1.9", path, "org.freedesktop.DBus.Introspectable", "Introspect")
	var node introspect.Node
	if err := xml.Unmarshal([]byte(m.Body[0].(string)), &node); err != nil {
		f.Fatal(err)
	}
	h.paths = append(h.paths, path)
	for _, i := range node.Interfaces {
		for _, m := range i.Methods {
			got := member{path: path, iface: i.Name, name: m.Name}
			for _, a := range m.Args {
				if a.Direction == "out" {
					got.out += a.Type
				} else {
					got.in += a.Type
				}
			}
			h.members = append(h.members, got)
		}
		for _, p := range i.Properties {
			h.members = append(h.members, member{path: path, iface: i.Name, name: p.Name, in: p.Type, property: true, writes: p.Access == "readwrite"})
		}
	}
	for _, child := range node.Children {
		h.explore(f, w, dbus.ObjectPath(strings.TrimSuffix(string(path), "/")+"/"+child.Name))
	}
}

// start makes a world.
func (h *fuzzHome) start(t testing.TB) *fuzzWorld {
	w := &fuzzWorld{links: linkstest.NewLinks(t), air: shimtest.NewAir(), clock: shimtest.NewClock(), log: &logBuffer{}}
	logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelError}))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.fakeBus = h.accept() })
	conn, err := dbusobj.Dial(ctx, dbusobj.Config{Address: h.address, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	w.t, w.answer = t, func(*dbus.Message) (string, []byte, bool) { return "", nil, true }
	w.shim = bluezshim.New(bluezshim.Config{
		Conn: conn, Links: w.links, Store: shimtest.NewStore(), Clock: w.clock, Logger: logger,
		Adapters: []bluezshim.AdapterConfig{{Address: 0x020000000000, Name: "proxies", Air: w.air}},
	})
	connCtx, stopConn := context.WithCancel(context.Background())
	wg.Go(func() { _ = conn.Run(connCtx) })
	wg.Go(func() { _ = w.shim.Run(ctx) })
	w.stop = func() {
		cancel()
		_ = conn.Do(context.Background(), w.shim.Close)
		stopConn()
		wg.Wait()
		<-w.ended
		_ = w.sock.Close()
		w.closeFDs()
		if s := w.log.String(); s != "" {
			t.Errorf("the log has errors:\n%s", s)
		}
	}
	for _, kind := range []string{
		"Connect", "CancelConnect", "Disconnect", "Read", "ReadDescriptor", "Write", "WriteCommand", "WriteDescriptor", "Subscribe",
		"Unsubscribe", "Pair", "Forget", "ClearCache", "SetConnectionParams",
	} {
		w.links.Auto(kind, w.operate)
	}
	w.ask(":1.9", fullPath("hci0"), "org.bluez.Adapter1", "StartDiscovery")
	w.air.Report(t, heard(dev1, plain("One")))
	w.ask(":1.9", fullPath("hci0/dev1"), "org.bluez.Device1", "Connect")
	w.shim.LinkUp(dev1, 247)
	w.shim.Resolved(dev1, database(gapService(), batteryService(), infoService(), customService()), 247)
	w.ask(":1.9", "/", "org.freedesktop.DBus.Peer", "Ping")
	if err := conn.Do(context.Background(), func() {}); err != nil {
		t.Fatal(err)
	}
	return w
}

// operate ends an operation of a link as a simple peripheral does.
func (w *fuzzWorld) operate(op *linkstest.Op) {
	switch op.Kind {
	case "Disconnect":
		w.shim.LinkDown(dev1, ble.DisconnectLocal)
		op.End(nil)
	case "CancelConnect", "Unsubscribe", "Forget":
	case "Connect":
		w.shim.LinkUp(op.Addr, 247)
		op.End(nil)
	case "Write", "WriteDescriptor":
		op.End(ble.ATTError(op.Handle)) // refused with all codes
	default:
		op.Answer(1, 2, 3)
	}
}

// FuzzCalls sends all that clients might: calls of every method and property with arguments of any type, and calls of
// what does not exist. Whatever comes, each call has exactly one answer, which is well-formed and of the right types,
// nothing panics, no descriptor is lost, and the shim goes on.
func FuzzCalls(f *testing.F) {
	h := newFuzzHome(f)
	if len(h.members) < 150 {
		f.Fatalf("only %d methods and properties were found", len(h.members))
	}
	// Every method and property with what it wants, all zero and not, and with arguments of other types. Even bytes at the
	// end ask for an answer.
	even := []byte{2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28}
	for i := range h.members {
		at := []byte{byte(i), byte(i >> 8)}
		seeds := [][]byte{append([]byte{0}, at...)}
		for k := range 2 {
			if typ := byte(2*i + k); h.members[i].property {
				seeds = append(seeds, append(append(append([]byte{1}, at...), typ), even...))
			} else {
				seeds = append(seeds, append(append(append([]byte{1}, at...), 1, typ), even...))
			}
		}
		if !allSeeds() { // each has a world of its own: one in turn beside what it wants
			seeds = seeds[i%len(seeds):][:1]
		}
		for _, s := range append(seeds, append(append([]byte{3}, at...), even...)) {
			f.Add(s)
		}
	}
	for op := range byte(16) {
		f.Add([]byte{op, 1, 2, 3, 4, 5, 6, 7, op, 255, 254, 253, 252, 251, 250})
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 4096 {
			return
		}
		w := h.start(t)
		before := openFDs(t)
		p := &fuzzProgram{fuzzHome: h, fuzzWorld: w, in: in}
		answers := &fuzzProgram{fuzzHome: h, fuzzWorld: w, in: in}
		w.answer = answers.answer
		for n := 0; len(p.in) > 0 && n < 64; n++ {
			p.step()
		}
		for _, c := range fuzzClients {
			w.leaves(c)
		}
		w.settle()
		for range 2 { // late or second answers would come before this one
			w.ask(":1.99", "/", "org.freedesktop.DBus.Peer", "Ping")
			w.links.Sync()
		}
		w.closeFDs()
		w.shim.LinkDown(dev1, ble.DisconnectRemote)
		w.stop()
		waitFDs(t, before-2) // the connection's two ends are gone
	})
}

// allSeeds: they are a corpus to begin with (make fuzz), or it is night (make test-nightly).
func allSeeds() bool {
	return tests.Nightly() || flag.Lookup("test.fuzz").Value.String() != ""
}

// waitFDs waits until no more descriptors are open: others are about to close theirs.
func waitFDs(t testing.TB, most int) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		n := openFDs(t)
		if n <= most {
			return
		}
		select {
		case <-timeout.C:
			t.Fatalf("%d descriptors are open, not %d", n, most)
		case <-time.After(time.Millisecond):
		}
	}
}

var fuzzClients = []string{":1.9", ":1.10", ":1.11", "org.example.Odd", ""}

// TestEveryMember: the fuzz target knows every interface that the shim has.
func TestEveryMember(t *testing.T) {
	h := newFuzzHome(t)
	seen := map[string]int{}
	for _, m := range h.members {
		seen[m.iface]++
	}
	for _, want := range []string{
		"Adapter1", "AdvertisementMonitorManager1", "LEAdvertisingManager1", "AgentManager1", "ProfileManager1", "Device1", "Battery1", "GattService1",
		"GattCharacteristic1", "GattDescriptor1",
	} {
		if seen["org.bluez."+want] == 0 {
			t.Errorf("org.bluez.%s is not among them", want)
		}
	}
	t.Log(fmt.Sprint(len(h.members), " methods and properties of ", len(h.paths), " objects: ", seen))
}
