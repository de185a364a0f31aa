package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/store"
)

// board notes which proxies were said to have changed.
type board struct{ changed []string }

func (*board) Show(*Proxy) {}
func (*board) Hide(*Proxy) {}
func (b *board) Changed(p *Proxy, properties ...string) {
	b.changed = append(b.changed, fmt.Sprint(p.Label(), properties))
}

// nowhere is a network without a proxy.
type nowhere struct{}

func (nowhere) Pace(context.Context) error { return nil }
func (nowhere) Resolve(context.Context, *Proxy, string) ([]netip.Addr, error) {
	return nil, fmt.Errorf("there is no such host")
}

// newSet makes a set of proxies that nobody runs: the test says what their sessions learn.
func newSet(t *testing.T, proxies ...config.Proxy) (*Set, *board) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	b := &board{}
	cfg := &config.Config{Proxies: proxies}
	s, err := New(Config{Live: func() *config.Config { return cfg }, Store: st, Network: nowhere{}, Board: b, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	return s, b
}

// letIn has a session of the proxy learn what the device is.
func letIn(t *testing.T, s *Set, p *Proxy, name string, mac ble.Address) {
	t.Helper()
	if err := s.admit(p, apiconn.Info{Name: name, MAC: mac.String(), Features: ble.FeatureActiveConnections}); err != nil {
		t.Fatal(err)
	}
}

// TestNameWithID: a session that was let in has given its proxy ID and name before it is shown as online, and no two
// proxies have the same name.
func TestNameWithID(t *testing.T) {
	s, b := newSet(t, config.Proxy{Host: "192.0.2.1", Port: 6053}, config.Proxy{Host: "192.0.2.2", Port: 6053})
	one, two := s.list[0], s.list[1]
	letIn(t, s, one, "twin", 1)
	letIn(t, s, two, "twin", 2)
	for p, want := range map[*Proxy][2]string{one: {"00:00:00:00:00:01", "twin"}, two: {"00:00:00:00:00:02", "twin-2"}} {
		if got := [2]string{p.ID(), p.Name()}; got != want {
			t.Errorf("ID and name are %q, want %q", got, want)
		}
		if !slices.Contains(b.changed, want[1]+"[Name]") {
			t.Errorf("nobody was told of the name %s: %q", want[1], b.changed)
		}
	}
}

// TestReloadWhileLetIn: a reload between the moment at which a device is let in and that at which it is online is no
// reason to forget which device it is.
func TestReloadWhileLetIn(t *testing.T) {
	s, _ := newSet(t, config.Proxy{Host: "192.0.2.1", Port: 6053, Name: "k"}, config.Proxy{Host: "kitchen.example", Port: 6053, Name: "other"})
	letIn(t, s, s.list[0], "kitchen", 1)
	s.list[0].acceptMAC()
	if got := s.list[0].MAC(); got != 1 {
		t.Errorf("the MAC is %v", got)
	}
	const want = `the same device as "k" (MAC 00:00:00:00:00:01): remove one of the two entries`
	if err := s.admit(s.list[1], apiconn.Info{MAC: "00:00:00:00:00:01", Features: 1}); err == nil || err.Error() != want {
		t.Errorf("the other way to the device: %v", err)
	}
}
