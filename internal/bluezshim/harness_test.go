package bluezshim_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
	"bluez-esphome/internal/bluezshim/shimtest"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/dbusobj/dbustest"
	"bluez-esphome/internal/links/linkstest"

	"go.uber.org/goleak"
)

const patience = 3 * time.Minute // for what must come

var noBus error // why there is no bus; set by TestMain only

func TestMain(m *testing.M) {
	_, noBus = exec.LookPath("dbus-daemon")
	if noBus != nil {
		fmt.Println("bluezshim: the tests on a bus were skipped: dbus-daemon is not installed")
	}
	goleak.VerifyTestMain(m)
}

// dev1 is hci0/dev1 in the tests' lines.
const (
	dev1 ble.Address = 0xAABBCCDDEE01
	dev2 ble.Address = 0xAABBCCDDEE02
)

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// harness is a Shim that runs on a bus of its own.
type harness struct {
	t     testing.TB
	addr  string
	conn  *dbusobj.Conn
	shim  *bluezshim.Shim
	links *linkstest.Links
	air   []*shimtest.Air
	store *shimtest.Store
	clock *shimtest.Clock
	log   *logBuffer
}

// start starts a Shim with as many adapters; prepare may change what it is made of.
func start(t testing.TB, adapters int, prepare ...func(*bluezshim.Config)) *harness {
	t.Helper()
	if noBus != nil {
		t.Skip("dbus-daemon is not installed (apt install dbus-daemon)")
	}
	h := &harness{
		t: t, addr: dbustest.Start(t), links: linkstest.NewLinks(t), store: shimtest.NewStore(),
		clock: shimtest.NewClock(), log: &logBuffer{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := dbusobj.Dial(ctx, dbusobj.Config{Address: h.addr, Logger: slog.New(slog.NewTextHandler(h.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	h.conn = conn
	cfg := bluezshim.Config{
		Conn: conn, Links: h.links, Store: h.store, Clock: h.clock,
		Logger: slog.New(slog.NewTextHandler(h.log, nil)),
	}
	for i := range adapters {
		h.air = append(h.air, shimtest.NewAir())
		ac := bluezshim.AdapterConfig{Index: i, Address: 0x020000000000 + ble.Address(i), Name: "proxies", Air: h.air[i]}
		if i > 0 {
			ac.Via = fmt.Sprint("proxy", i)
		}
		cfg.Adapters = append(cfg.Adapters, ac)
	}
	for _, f := range prepare {
		f(&cfg)
	}
	h.shim = bluezshim.New(cfg)
	if err := conn.RequestName(ctx, "org.bluez"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	connCtx, stopConn := context.WithCancel(context.Background())
	wg.Go(func() { _ = conn.Run(connCtx) })
	wg.Go(func() { _ = h.shim.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		_ = conn.Do(context.Background(), h.shim.Close)
		ended, cancel := context.WithTimeout(context.Background(), time.Minute)
		h.shim.Wait(ended)
		if ended.Err() != nil {
			t.Error("goroutines of pipes or calls outlive Close")
		}
		cancel()
		stopConn()
		wg.Wait()
		if strings.Contains(h.log.String(), "level=ERROR") {
			t.Errorf("the log has errors:\n%s", h.log)
		}
	})
	return h
}

// do runs f in the loop.
func (h *harness) do(f func()) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.conn.Do(ctx, f); err != nil {
		h.t.Fatal(err)
	}
}

func openFDs(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
