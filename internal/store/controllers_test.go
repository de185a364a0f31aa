package store

import (
	"os"
	"path/filepath"
	"testing"

	"bluez-esphome/internal/ble"
)

// TestControllers: a controller's address and the keys of its host outlive a run.
func TestControllers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := open(t, dir)
	a, err := s.Controller("vhci")
	if err != nil || a>>40&3 != 2 {
		t.Fatalf("address %v, error %v", a, err)
	}
	if b, _ := s.Controller("tcp:127.0.0.1:9555"); b == a {
		t.Error("two controllers have one address")
	}
	key := ble.HostKey{LTK: ble.LTK([]byte("0123456789abcdef")), EDIV: 7, Rand: [8]byte{1, 2}, Secure: true}
	s.ChangeControllerPeer("vhci", 1, func(p *ControllerPeer) { p.Key = &key })
	s.ChangeControllerPeer("vhci", 1, func(p *ControllerPeer) { p.Seen.Changes = true })
	s.ChangeControllerPeer("nobody", 1, func(p *ControllerPeer) { p.Seen.Changes = true })
	s.Close()
	s, _ = open(t, dir)
	defer s.Close()
	if b, _ := s.Controller("vhci"); b != a {
		t.Errorf("address %v, was %v", b, a)
	}
	if p, ok := s.ControllerPeer("vhci", 1); !ok || p.Key == nil || *p.Key != key || !p.Seen.Changes {
		t.Errorf("peer %+v", p)
	}
	if _, ok := s.ControllerPeer("nobody", 1); ok {
		t.Error("a controller that is not there has a peer")
	}
	if info, err := os.Stat(filepath.Join(dir, stateFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
}

// TestControllerBounds: peripherals without a key make room; those with one stay.
func TestControllerBounds(t *testing.T) {
	t.Parallel()
	s, _ := open(t, t.TempDir())
	defer s.Close()
	_, _ = s.Controller("vhci")
	peers := map[ble.Address]ControllerPeer{}
	for i := range ble.Address(maxPeers) {
		peers[i+1] = ControllerPeer{Key: new(ble.HostKey)}
	}
	delete(peers, 7)
	peers[7] = ControllerPeer{}
	s.mu.Lock()
	c := s.st.Controllers["vhci"]
	c.Peers = peers
	s.st.Controllers["vhci"] = c
	s.mu.Unlock()
	s.ChangeControllerPeer("vhci", 99999, func(p *ControllerPeer) { p.Key = new(ble.HostKey) })
	s.ChangeControllerPeer("vhci", 99998, func(p *ControllerPeer) { p.Key = new(ble.HostKey) })
	for a, want := range map[ble.Address]bool{7: false, 8: true, 99999: true, 99998: false} {
		if _, ok := s.ControllerPeer("vhci", a); ok != want {
			t.Errorf("%v kept: %v", a, ok)
		}
	}
}

// TestDamagedControllers: a file that says what is never written is set aside.
func TestDamagedControllers(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no address": `{"vhci": {}}`, "short key": `{"controller": {"address": "02:00:00:00:00:01", "peers": {"00:00:00:00:00:01": {"key": {"ltk": "AAAA"}}}}}`,
	} {
		b := `{"version": 1, "adapter_address": "02:00:00:00:00:01", "controllers": ` + text + `}`
		if _, err := decodeState([]byte(b)); err == nil {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
