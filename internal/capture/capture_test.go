package capture

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/btsnoop"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	device = ble.Address(0xc0aa01010203)
	radio  = ble.Address(0x240ac4000001)
)

// session is a proxy that answers at once with what the test says.
type session struct {
	Session
	value []byte
	err   error
}

func (s *session) ID() string { return "id" }
func (s *session) Connect(context.Context, ble.Address, ble.AddressType, bool) (int, error) {
	return 30, s.err
}
func (s *session) Disconnect(context.Context, ble.Address) error { return s.err }
func (s *session) Do(context.Context, ble.Address, ble.Operation) ([]byte, error) {
	return s.value, s.err
}
func (s *session) Begin(_ ble.Address, _ ble.Operation, done func([]byte, error)) (func(), bool) {
	done(s.value, s.err) // at once, before it is known that the request was sent
	return func() {}, true
}
func (s *session) Pair(context.Context, ble.Address) error { return s.err }
func (s *session) SetConnectionParams(context.Context, ble.Address, ble.ConnectionParams) error {
	return s.err
}
func (s *session) LinkMTU(context.Context, ble.Address, ble.AddressType) (int, error) { return 40, nil }

// world is a Tap with a proxy, and a reader of it.
type world struct {
	t     *testing.T
	tap   *Tap
	s     *session
	proxy Session
	r     *reader
}

func newWorld(t *testing.T, want Want) *world {
	t.Helper()
	w := &world{t: t, tap: New(), s: &session{}}
	w.tap.Online("id", "kitchen", radio)
	w.proxy = w.tap.Proxy(w.s).(Session)
	w.read(want)
	return w
}

func (w *world) read(want Want) {
	w.t.Helper()
	var err error
	if w.r, err = w.tap.read(want); err != nil {
		w.t.Fatal(err)
	}
	w.got()
}

// got gives the records since it was asked last, as hex.
func (w *world) got() (out []string) {
	w.t.Helper()
	data, _ := w.tap.take(w.r, nil)
	if !btsnoop.Is(data) {
		data = append(btsnoop.Header(), data...)
	}
	file, err := btsnoop.NewReader(bytes.NewReader(data))
	if err != nil {
		w.t.Fatal(err)
	}
	for {
		rec, err := file.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			w.t.Fatal(err)
		}
		line := hex.EncodeToString(rec.Data)
		if rec.Op == btsnoop.Note {
			line = strings.TrimRight(string(rec.Data), "\x00")
		}
		out = append(out, fmt.Sprintf("%d %s", rec.Op, line))
	}
}

func (w *world) want(what string, want ...string) {
	w.t.Helper()
	if got := w.got(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		w.t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (w *world) do(kind ble.OperationKind, handle uint16, value string) {
	w.t.Helper()
	_, _ = w.proxy.Do(w.t.Context(), device, ble.Operation{Kind: kind, Handle: handle, Value: []byte(value)})
}

const (
	create    = "2 0d2019600060000001030201" + "01aac0" + "0006000600" + "0000" + "e803" + "00000000"
	status    = "3 0f0400010d20"
	connected = "3 3e13010040000001" + "03020101aac0" + "06000000e80300"
	addressLE = "03020101aac0"
)

func (w *world) connect() {
	w.t.Helper()
	if _, err := w.proxy.Connect(w.t.Context(), device, ble.Random, false); err != nil {
		w.t.Fatal(err)
	}
}

// TestLink: what is done on a link, as HCI and ATT.
func TestLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Want{})
	w.connect()
	w.want("connect", create, status, connected, "4 400007000300040002"+"1e00", "5 402007000300040003"+"1e00")
	w.s.value = []byte("short")
	w.do(ble.OpRead, 3, "")
	w.want("read", "4 4000070003000400"+"0a0300", "5 40200a0006000400"+"0b73686f7274")
	w.s.value = bytes.Repeat([]byte{7}, 58) // two full answers and an empty one, with an MTU of 30
	if _, ok := w.proxy.Begin(device, ble.Operation{Kind: ble.OpRead, Handle: 3}, func([]byte, error) {}); !ok {
		t.Fatal("not begun")
	}
	seven := strings.Repeat("07", 29)
	w.want("long read", "4 4000070003000400"+"0a0300", "5 402022001e000400"+"0b"+seven, "4 4000090005000400"+"0c03001d00",
		"5 402022001e000400"+"0d"+seven, "4 4000090005000400"+"0c03003a00", "5 4020050001000400"+"0d")
	w.s.value = nil
	w.do(ble.OpWrite, 5, "ab")
	w.want("write", "4 4000090005000400"+"1205006162", "5 4020050001000400"+"13")
	w.do(ble.OpWrite, 5, strings.Repeat("x", 30))
	head, tail := strings.Repeat("78", 25), strings.Repeat("78", 5)
	w.want("long write", "4 400022001e000400"+"1605000000"+head, "5 402022001e000400"+"1705000000"+head,
		"4 40000e000a000400"+"1605001900"+tail, "5 40200e000a000400"+"1705001900"+tail, "4 4000060002000400"+"1801", "5 4020050001000400"+"19")
	w.do(ble.OpWriteCommand, 5, "a")
	w.want("command", "4 4000080004000400"+"52050061")
	w.s.err = ble.ATTReadNotPermitted
	w.do(ble.OpRead, 0x1234, "")
	w.want("refused", "4 4000070003000400"+"0a3412", "5 4020090005000400"+"010a341202")
	w.s.err = ble.ErrTimeout
	w.do(ble.OpRead, 3, "")
	w.want("not answered", "4 4000070003000400"+"0a0300", "12 C0:AA:01:01:02:03: Read of a handle was not answered: timed out")
	_ = w.proxy.Pair(t.Context(), device)
	w.want("not paired", "12 C0:AA:01:01:02:03: pairing: timed out")
	w.s.err = nil
	_ = w.proxy.Pair(t.Context(), device)
	w.want("paired", "3 080400400001")
	_ = w.proxy.SetConnectionParams(t.Context(), device, ble.ConnectionParams{MinInterval: 6, MaxInterval: 12, Latency: 1, Timeout: 400})
	w.want("updated", "2 13200e"+"400006000c000100900100000000", "3 0f0400011320", "3 3e0a0300"+"40000c0001009001")
	_, _ = w.proxy.LinkMTU(t.Context(), device, ble.Random)
	w.want("MTU", "4 4000070003000400"+"022800", "5 4020070003000400"+"032800")
	_ = w.proxy.Disconnect(t.Context(), device)
	w.tap.LinkReport("id", device, false, 0, 0x16)
	w.want("disconnect", "2 0604034000"+"13", "3 0f0400010604", "3 050400400016")
	w.do(ble.OpRead, 3, "")
	w.tap.Notification("id", device, 3, []byte{1})
	w.want("without a link")
}

// refusal is an answer to Connect.
type refusal int32

func (r refusal) Error() string      { return "refused" }
func (r refusal) ConnectCode() int32 { return int32(r) }

// TestConnectFails: an attempt that fails is a Connection Complete with its status, one that is called off a command,
// too.
func TestConnectFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want []string
	}{
		{refusal(0x3d), []string{"3 3e13013d00000001" + addressLE + "06000000e80300", "12 C0:AA:01:01:02:03: no link: refused"}},
		{refusal(133), []string{"3 3e13013e00000001" + addressLE + "06000000e80300", "12 C0:AA:01:01:02:03: no link: refused"}},
		{context.Canceled, []string{"2 0e2000", "3 0e04010e2000", "3 3e13010200000001" + addressLE + "06000000e80300", "12 C0:AA:01:01:02:03: no link: context canceled"}},
	} {
		w := newWorld(t, Want{})
		w.s.err = c.err
		_, _ = w.proxy.Connect(t.Context(), device, ble.Random, false)
		w.want(c.err.Error(), append([]string{create, status}, c.want...)...)
	}
}

// database has a characteristic that notifies and one that can do both.
func database() *ble.Database {
	return &ble.Database{Services: []ble.Service{{Handle: 1, EndHandle: 0xffff, UUID: ble.UUID16(0x180f), Characteristics: []ble.Characteristic{
		{Handle: 2, ValueHandle: 3, UUID: ble.UUID16(0x2a19), Properties: ble.PropNotify, Descriptors: []ble.Descriptor{{Handle: 4, UUID: ble.UUIDCCCD}}},
		{Handle: 5, ValueHandle: 6, UUID: ble.UUID16(0x2a1a), Properties: ble.PropNotify | ble.PropIndicate, Descriptors: []ble.Descriptor{{Handle: 7, UUID: ble.UUIDCCCD}}},
	}}}}
}

// TestLater: a capture that begins later has the links that are up, their databases, and what kind of updates they
// send.
func TestLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Want{})
	w.tap.leave(w.r)
	w.connect()
	w.tap.Resolved(device, database(), 247)
	w.do(ble.OpWriteDescriptor, 7, "\x02\x00")
	w.s.value = []byte{1}
	w.do(ble.OpRead, 3, "")
	var err error
	if w.r, err = w.tap.read(Want{}); err != nil {
		t.Fatal(err)
	}
	radioLE := "010000c40a24"
	w.want("what there is",
		"0 0000"+radioLE+"6b69746368656e00", "8 ", "10 "+radioLE+"ffff", "12 proxy kitchen",
		connected, "4 4000070003000400"+"02f700", "5 4020070003000400"+"03f700",
		"4 40000b0007000400"+"100100ffff0028", "5 40200c0008000400"+"1106"+"0100ffff0f18",
		"4 40000b0007000400"+"080100ffff0328", "5 4020140010000400"+"0907"+"0200100300192a"+"05003006001a2a",
		"4 40000b0007000400"+"080600ffff0328", "5 4020090005000400"+"010806000a",
		"4 4000090005000400"+"0404000400", "5 40200a0006000400"+"050104000229",
		"4 4000090005000400"+"0407000700", "5 40200a0006000400"+"050107000229")
	w.tap.Notification("id", device, 3, []byte{9})
	w.tap.Notification("id", device, 6, []byte{8})
	w.want("updates", "5 4020080004000400"+"1b030009", "5 4020080004000400"+"1d060008", "4 4000050001000400"+"1e")
	w.tap.Offline("id")
	w.want("offline", "3 050400400008", "1 ")
}

// TestAdverts: what was advertised and what was answered are two reports; what is not wanted is not there.
func TestAdverts(t *testing.T) {
	t.Parallel()
	adv := bytes.Repeat([]byte{2, 1, 6}, 10)
	raw := ble.RawAdvert{Address: device, Type: ble.Random, RSSI: -60, Data: append(bytes.Clone(adv), 4, 9, 'a', 'b', 'c')}
	stranger := ble.RawAdvert{Address: 5, Data: []byte{2, 1, 6}}
	w := newWorld(t, Want{Devices: []ble.Address{device}})
	w.tap.Adverts("id", time.Now(), []ble.RawAdvert{raw, stranger})
	w.want("both", "3 3e2a02010001"+addressLE+"1e"+hex.EncodeToString(adv)+"c4", "3 3e1102010401"+addressLE+"05"+"0409616263"+"c4")
	w = newWorld(t, Want{NoAdverts: true})
	w.tap.Adverts("id", time.Now(), []ble.RawAdvert{raw})
	w.want("none")
	if _, err := w.tap.read(Want{Proxies: []string{"garage"}}); err == nil || err.Error() != `there is no proxy "garage"` {
		t.Errorf("a proxy that is not there: %v", err)
	}
}

// TestRedact: no address, and no part of one that names it, is in a capture that hides them; the same device has the
// same address throughout.
func TestRedact(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Want{Redact: true})
	texts := []string{"C0:AA:01:01:02:03", "C0-AA-01-01-02-03", "c0aa01010203", "X_010203", "x_0203", "\xc0\xaa\x01\x01\x02\x03", "\x03\x02\x01\x01\xaa\xc0", "\x03\x02\x01", "\x01\x02\x03"}
	for _, s := range texts {
		w.tap.Adverts("id", time.Now(), []ble.RawAdvert{{Address: device, Type: ble.Random, Data: append([]byte{byte(len(s) + 1), 9}, s...)}})
	}
	w.connect()
	w.s.value = []byte(strings.Join(texts[:5], " "))
	w.do(ble.OpRead, 3, "")
	w.s.err = fmt.Errorf("cannot do it with %s", device)
	_ = w.proxy.Pair(t.Context(), device)
	var addresses []string
	for _, line := range w.got() {
		_, data, _ := strings.Cut(line, " ")
		b, err := hex.DecodeString(data)
		if err != nil {
			b = []byte(data)
		}
		for _, s := range append(texts, strings.ToUpper(hex.EncodeToString([]byte(texts[5])))) {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%q has %q", line, s)
			}
		}
		if strings.HasPrefix(data, "3e") && data[4:6] == "02" {
			addresses = append(addresses, data[12:24])
		}
	}
	for _, a := range addresses {
		if a != addresses[0] || a[10:] == addressLE[10:] {
			t.Errorf("addresses %q", addresses)
			break
		}
	}
	if n := len(addresses); n != len(texts) {
		t.Errorf("%d reports", n)
	}
}

// TestSlowReader: who does not keep up loses records, which are counted, and holds nobody up.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Want{})
	batch := make([]ble.RawAdvert, 1000)
	for i := range batch {
		batch[i] = ble.RawAdvert{Address: ble.Address(i + 1), Data: make([]byte, 31)}
	}
	for range 100 {
		w.tap.Adverts("id", time.Now(), batch)
	}
	data, drops := w.tap.take(w.r, nil)
	if len(data) < maxWaiting || len(data) > maxWaiting+200 || drops == 0 {
		t.Errorf("%d bytes, %d lost", len(data), drops)
	}
	w.tap.Adverts("id", time.Now(), batch[:1])
	data, _ = w.tap.take(w.r, nil)
	if len(data) < 24 || uint32(data[12])<<24|uint32(data[13])<<16|uint32(data[14])<<8|uint32(data[15]) != drops {
		t.Errorf("the next record does not say that %d were lost", drops)
	}
}

// TestServe: a capture over the socket, its end by each side, and the bound of captures at a time.
func TestServe(t *testing.T) {
	t.Parallel()
	tap := New()
	tap.Online("id", "kitchen", radio)
	dir := t.TempDir() + "/" + strings.Repeat("long", 40) // longer than a socket's address may be
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Record(t.Context(), Socket(dir), Want{}, 0, io.Discard, func() {}); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("without a daemon: %v", err)
	}
	for range 2 { // the second one finds what the first one left
		ctx, stop := context.WithCancel(t.Context())
		s, err := tap.Serve(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Run(ctx) }()
		if info, err := os.Stat(s.Path()); err != nil || info.Mode().Perm() != 0o660 {
			t.Errorf("the socket: %v, %v", info, err)
		}
		var file bytes.Buffer
		rctx, enough := context.WithCancel(ctx)
		sum, err := Record(rctx, s.Path(), Want{}, 0, writer(func(p []byte) (int, error) {
			file.Write(p)
			if file.Len() > 2000 {
				enough()
			}
			return len(p), nil
		}), func() {
			go func() {
				for rctx.Err() == nil {
					tap.Adverts("id", time.Now(), []ble.RawAdvert{{Address: device, Data: []byte{2, 1, 6}}})
				}
			}()
		})
		if err != nil || sum.Records < 20 {
			t.Errorf("%+v, %v", sum, err)
		}
		if sum, err := Record(ctx, s.Path(), Want{}, 100, io.Discard, func() {}); err != nil || !sum.Full {
			t.Errorf("with a limit: %+v, %v", sum, err)
		}
		if _, err := Record(ctx, s.Path(), Want{Proxies: []string{"none"}}, 0, io.Discard, func() {}); err == nil || !strings.Contains(err.Error(), `there is no proxy "none"`) {
			t.Errorf("of no proxy: %v", err)
		}
		ends := make(chan error, maxReaders)
		for range maxReaders {
			began := make(chan struct{})
			go func() {
				_, err := Record(t.Context(), s.Path(), Want{}, 0, io.Discard, func() { close(began) })
				ends <- err
			}()
			select {
			case <-began:
			case err := <-ends: // each capture before has left its place
				t.Fatalf("a capture does not begin: %v", err)
			}
		}
		if _, err := Record(ctx, s.Path(), Want{}, 0, io.Discard, func() {}); err == nil || !strings.Contains(err.Error(), ErrBusy.Error()) {
			t.Errorf("one too many: %v", err)
		}
		stop()
		for range maxReaders {
			if err := <-ends; err == nil || !strings.Contains(err.Error(), "the daemon ended the capture") {
				t.Errorf("the daemon stops: %v", err)
			}
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(s.Path()); err == nil {
			t.Error("the socket is left behind")
		}
		if tap.active.Load() {
			t.Error("the tap believes that somebody reads")
		}
		if err := leftover(s.Path(), dir); err != nil {
			t.Fatal(err)
		}
	}
}

// leftover makes the socket of a daemon that was killed.
func leftover(path, dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: short(d)})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	return l.Close()
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// TestNobodyReads: what happens while nobody captures allocates nothing.
func TestNobodyReads(t *testing.T) {
	w := newWorld(t, Want{})
	w.tap.leave(w.r)
	w.connect()
	batch := []ble.RawAdvert{{Address: device, Data: []byte{2, 1, 6}}}
	ctx, op := t.Context(), ble.Operation{Kind: ble.OpRead, Handle: 3}
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() {
		w.tap.Adverts("id", now, batch)
		_, _ = w.proxy.Do(ctx, device, op)
		w.tap.Notification("id", device, 3, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
