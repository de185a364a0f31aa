package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logs is a log that a test can read while it is written.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func open(t *testing.T, dir string) (*Store, *logs) {
	t.Helper()
	l := &logs{}
	s, err := Open(dir, slog.New(slog.NewTextHandler(l, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, l
}

func closeStore(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const dev = ble.Address(0xaabbccddeeff)

func sampleDevice() DeviceState {
	return DeviceState{Type: ble.Random, Name: "n", Alias: "ä", Appearance: 833, Modalias: "bluetooth:v1", Trusted: true,
		Blocked: true, Bonded: true, UUIDs: []ble.UUID{ble.UUID16(0x180f)}}
}

func sampleGatt() GattState {
	return GattState{
		Database: &ble.Database{Services: []ble.Service{{Handle: 1, EndHandle: 5, UUID: ble.UUID16(0x1800),
			Characteristics: []ble.Characteristic{{Handle: 2, ValueHandle: 3, UUID: ble.UUIDDeviceName, Properties: ble.PropRead,
				Descriptors: []ble.Descriptor{{Handle: 4, UUID: ble.UUIDCCCD}}}}}}},
		Complete: true, Hash: []byte{1, 2}, MTU: map[string]int{"kitchen": 247}, Bonded: "kitchen", Stale: true, Last: "hall",
	}
}

func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, l := open(t, dir)
	addr := s.Address()
	if addr>>40&0x03 != 0x02 {
		t.Errorf("address %v is not a locally administered unicast one", addr)
	}
	if got := s.Adapter(0); got != newAdapter {
		t.Errorf("new adapter: %+v", got)
	}
	adapter := AdapterState{Alias: "x", Off: true, DiscoverableTimeout: 1, PairableTimeout: 2}
	s.SetAdapter(0, adapter)
	s.SetDevice(dev, sampleDevice())
	s.SetDevice(1, DeviceState{})
	s.SetDevice(2, DeviceState{Name: "gone"})
	s.DeleteDevice(2)
	s.SetGatt(dev, sampleGatt())
	s.SetGatt(2, sampleGatt())
	s.SetGatt(2, GattState{})
	closeStore(t, s)
	closeStore(t, s)

	s, l2 := open(t, dir)
	if s.Address() != addr || s.Adapter(0) != adapter || s.Adapter(1) != newAdapter {
		t.Errorf("adapter: %v %+v", s.Address(), s.Adapter(0))
	}
	got := map[ble.Address]DeviceState{}
	s.Devices(func(a ble.Address, d DeviceState) { got[a] = d })
	if d := cmp.Diff(map[ble.Address]DeviceState{dev: sampleDevice(), 1: {}}, got); d != "" {
		t.Error(d)
	}
	g, ok := s.Gatt(dev)
	if d := cmp.Diff(sampleGatt(), g); d != "" || !ok {
		t.Error(ok, d)
	}
	if _, ok := s.Gatt(2); ok {
		t.Error("a deleted GATT state is back")
	}
	if l.String()+l2.String() != "" {
		t.Errorf("logged: %s%s", l, l2)
	}
	for path, want := range map[string]os.FileMode{"": 0o700, stateFile: 0o600, gattDir: 0o700, gattName(dev): 0o600} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v, want %v", path, info.Mode(), err, want)
		}
	}
}

// TestCopies: what goes in and comes out is the caller's.
func TestCopies(t *testing.T) {
	s, _ := open(t, t.TempDir())
	d, g := sampleDevice(), sampleGatt()
	s.SetDevice(dev, d)
	s.SetGatt(dev, g)
	d.UUIDs[0], g.MTU["kitchen"], g.Hash[0] = ble.UUID{}, 1, 9
	d, _ = s.Device(dev)
	g, _ = s.Gatt(dev)
	d.UUIDs[0], g.MTU["kitchen"], g.Hash[0] = ble.UUID{}, 1, 9
	d, _ = s.Device(dev)
	g, _ = s.Gatt(dev)
	if diff := cmp.Diff(sampleDevice(), d) + cmp.Diff(sampleGatt(), g); diff != "" {
		t.Error(diff)
	}
}

// TestDelay: changes are written together, half a second after the first.
func TestDelay(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, dir)
		time.Sleep(time.Second) // the address of a new state is written by itself
		name := func() string {
			b, err := os.ReadFile(filepath.Join(dir, stateFile))
			if err != nil {
				t.Fatal(err)
			}
			st, err := decodeState(b)
			if err != nil {
				t.Fatal(err)
			}
			return st.Devices[dev].Name
		}
		for i := range 5 {
			s.SetDevice(dev, DeviceState{Name: fmt.Sprint(i)})
			time.Sleep(delay / 6)
			synctest.Wait()
			if got := name(); got != "" {
				t.Fatalf("after %d changes already %q on disk", i+1, got)
			}
		}
		time.Sleep(delay/6 + time.Millisecond)
		synctest.Wait()
		if got := name(); got != "4" {
			t.Errorf("on disk %q", got)
		}
		closeStore(t, s)
	})
}

// TestFloodOfChanges: what changes without a pause is written ever less often; a change after a pause as soon as ever.
func TestFloodOfChanges(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, dir)
		time.Sleep(time.Minute)
		written := map[string]bool{}
		read := func() string {
			synctest.Wait()
			b, err := os.ReadFile(filepath.Join(dir, stateFile))
			if err != nil {
				t.Fatal(err)
			}
			st, err := decodeState(b)
			if err != nil {
				t.Fatal(err)
			}
			return st.Devices[dev].Name
		}
		for i := range 6000 {
			s.SetDevice(dev, DeviceState{Name: fmt.Sprint(i)})
			time.Sleep(20 * time.Millisecond)
			written[read()] = true
		}
		if n := len(written); n < 15 || n > 25 {
			t.Errorf("written %d times in two minutes", n)
		}
		time.Sleep(time.Minute)
		s.SetDevice(dev, DeviceState{Name: "last"})
		time.Sleep(delay + time.Millisecond)
		if got := read(); got != "last" {
			t.Errorf("on disk %q", got)
		}
		closeStore(t, s)
	})
}

func TestDamage(t *testing.T) {
	good := `{"version":1,"adapter_address":"02:00:00:00:00:01","adapters":null,"devices":{},"proxies":null}`
	for name, text := range map[string]string{
		"empty": "", "blank": " \n", "cut off": good[:40], "other JSON": "[]", "null": "null", "trailing": good + "x",
		"newer": strings.Replace(good, `"version":1`, `"version":2`, 1), "zeros": strings.Repeat("\x00", 500),
		"address": strings.Replace(good, "02:00", "01:00", 1), "bad key": strings.Replace(good, `"devices":{}`, `"devices":{"x":{}}`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, stateFile), text)
			s, l := open(t, dir)
			if l.count("damaged") == 0 || l.count("\n") != 1 {
				t.Errorf("logged: %s", l)
			}
			s.SetDevice(dev, sampleDevice())
			closeStore(t, s)
			kept, _ := filepath.Glob(filepath.Join(dir, stateFile+".damaged-*"))
			if len(kept) != 1 {
				t.Fatalf("set aside: %v", kept)
			}
			if b, err := os.ReadFile(kept[0]); err != nil || string(b) != text {
				t.Errorf("set aside: %q %v", b, err)
			}
			s, l = open(t, dir)
			if _, ok := s.Device(dev); !ok || l.String() != "" {
				t.Errorf("afterwards: %v, %s", ok, l)
			}
		})
	}
	t.Run("good", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, stateFile), good)
		s, l := open(t, dir)
		if s.Address() != 0x020000000001 || l.String() != "" {
			t.Errorf("%v %s", s.Address(), l)
		}
		s.SetAdapter(0, AdapterState{})
		s.SetDevice(dev, DeviceState{})
		if _, ok := s.ProxyAdapter(7); !ok {
			t.Error("null maps cannot be written")
		}
	})
}

func TestDamagedGatt(t *testing.T) {
	for name, text := range map[string]string{
		"cut off": "{", "newer": `{"version":2,"address":"AA:BB:CC:DD:EE:FF"}`, "another's": `{"version":1,"address":"AA:BB:CC:DD:EE:FE"}`,
		"large": strings.Repeat(" ", maxGattFile+1),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, gattName(dev)), text)
			s, l := open(t, dir)
			for range 2 {
				if _, ok := s.Gatt(dev); ok {
					t.Error("a damaged file gave a state")
				}
			}
			s.SetGatt(dev, sampleGatt())
			closeStore(t, s)
			kept, _ := filepath.Glob(filepath.Join(dir, gattDir, "*.damaged-*"))
			if len(kept) != 1 || l.count("damaged") == 0 || l.count("\n") != 1 {
				t.Errorf("kept %v, logged %s", kept, l)
			}
			s, _ = open(t, dir)
			if _, ok := s.Gatt(dev); !ok {
				t.Error("not written afterwards")
			}
		})
	}
}

// TestUnwritable: a directory that cannot be written is reported once, state is kept in memory, and
// written when that is possible again. (A directory in the file's place also stops root.)
func TestUnwritable(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, l := open(t, dir)
		time.Sleep(time.Second)
		if err := os.Remove(filepath.Join(dir, stateFile)); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, stateFile, "obstacle"), "")
		for i := range 20 {
			s.SetDevice(ble.Address(i), DeviceState{})
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		if l.count("Cannot write state") != 1 || l.count("\n") != 1 {
			t.Errorf("logged: %s", l)
		}
		if err := os.RemoveAll(filepath.Join(dir, stateFile)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(retryAfter + time.Second)
		synctest.Wait()
		if l.count("written again") != 1 {
			t.Errorf("logged: %s", l)
		}
		closeStore(t, s)
		s, _ = open(t, dir)
		if _, ok := s.Device(19); !ok {
			t.Error("what was changed meanwhile is lost")
		}
		closeStore(t, s)
	})
}

// TestNoDirectory: where the directory cannot even be made, the program runs without.
func TestNoDirectory(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "file")
	write(t, parent, "")
	s, l := open(t, filepath.Join(parent, "state"))
	s.SetDevice(dev, sampleDevice())
	s.SetGatt(dev, sampleGatt())
	if err := s.Flush(); err == nil {
		t.Error("no error")
	}
	if _, ok := s.Device(dev); !ok {
		t.Error("nothing kept in memory")
	}
	if _, ok := s.Gatt(dev); !ok {
		t.Error("no GATT state kept in memory")
	}
	if l.count("Cannot write state") != 1 {
		t.Errorf("logged: %s", l)
	}
	for _, bad := range []string{parent, "relative"} {
		if s, err := Open(bad, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("Open(%s) succeeded", bad)
			_ = s.Close()
		}
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	_, err := Open(dir, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d has it open", os.Getpid())) {
		t.Errorf("got %v", err)
	}
	closeStore(t, s)
	open(t, dir)
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, ".state.json123"), "{")
	write(t, filepath.Join(dir, gattDir, ".x.json9"), "{")
	old := time.Now().Add(-time.Hour)
	for i := range maxGattFiles + 3 {
		path := filepath.Join(dir, gattName(ble.Address(i)))
		write(t, path, "{}")
		if i < 3 {
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	open(t, dir)
	left, _ := filepath.Glob(filepath.Join(dir, gattDir, "*"))
	if len(left) != maxGattFiles || left[0] != filepath.Join(dir, gattName(3)) {
		t.Errorf("%d files left, first %s", len(left), left[0])
	}
	if hidden, _ := filepath.Glob(filepath.Join(dir, ".*.json*")); len(hidden) != 0 {
		t.Errorf("left: %v", hidden)
	}
}

func TestLimit(t *testing.T) {
	s, l := open(t, t.TempDir())
	for i := range maxDevices + 2 {
		s.SetDevice(ble.Address(i), DeviceState{})
	}
	if _, ok := s.Device(maxDevices); ok || l.count("limit is reached") != 1 {
		t.Errorf("kept %v, logged %s", ok, l)
	}
}

func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	s, l := open(t, dir)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				a := ble.Address(i<<8 | j)
				s.SetDevice(a, DeviceState{Name: fmt.Sprint(j), UUIDs: []ble.UUID{{}}})
				s.SetGatt(a, sampleGatt())
				s.Gatt(a)
				s.Device(a)
				s.SetAdapter(i, AdapterState{DiscoverableTimeout: uint32(j)})
				s.ProxyAdapter(a)
				if j%5 == 0 {
					s.SetGatt(a, GattState{})
					if err := s.Flush(); err != nil {
						t.Error(err)
					}
				}
				s.Devices(func(b ble.Address, _ DeviceState) { s.Device(b) })
			}
		})
	}
	wg.Wait()
	closeStore(t, s)
	s, _ = open(t, dir)
	n := 0
	s.Devices(func(a ble.Address, d DeviceState) {
		n++
		if _, ok := s.Gatt(a); ok != (a&0xff%5 != 0) || d.Name != fmt.Sprint(uint8(a)) {
			t.Errorf("device %v: %+v, GATT state %v", a, d, ok)
		}
	})
	if n != 400 || l.String() != "" {
		t.Errorf("%d devices, logged %s", n, l)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"adapter_address":"02:00:00:00:00:01","devices":{"AA:BB:CC:DD:EE:FF":{"type":1}}}`))
	f.Add([]byte(`{"version":1,"address":"AA:BB:CC:DD:EE:FF","database":{"services":[{"uuid":"180f"}]},"mtu":{"a":1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeState(b); err == nil && (s.Devices == nil || s.Adapters == nil || s.Proxies == nil) {
			t.Error("a nil map")
		}
		_, _ = decodeGatt(b, dev)
	})
}
