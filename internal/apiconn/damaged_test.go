package apiconn

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire/apipb"
)

// damage sends a message of which one bit is wrong.
func (f *firmware) damage(m proto.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	frame, err := f.far.f.AppendMessage(nil, m)
	if err != nil {
		f.far.t.Fatal(err)
	}
	frame[len(frame)-1] ^= 1
	if _, err := f.far.conn.Write(frame); err != nil {
		f.far.t.Error(err)
	}
}

// E5 of the users' reports: one damaged frame costs one reconnection, like any broken stream. The second within a
// minute is no accident.
func TestE5DamagedFrame(t *testing.T) {
	for _, m := range []proto.Message{heard(), &apipb.PingResponse{}, freeSlots()} {
		key := [32]byte{7}
		f := &firmware{info: device("2026.10.0", 0xff), psk: &key, grants: true}
		inHome(t, f, func(c *Config) { c.PSK = &key }, func(h *home) {
			h.after(3 * time.Second)
			h.expect(StateOnline, 1)
			f.damage(m)
			synctest.Wait()
			if h.p.State() != StateOffline || !strings.Contains(h.p.LastError(), "damaged on the way") {
				t.Errorf("state %v (%s)", h.p.State(), h.p.LastError())
			}
			h.after(2 * time.Second)
			h.expect(StateOnline, 2)
			f.damage(m)
			synctest.Wait()
			if h.p.State() != StateAuthFailed {
				t.Errorf("the second time: state %v (%s)", h.p.State(), h.p.LastError())
			}
			h.after(61 * time.Second)
			h.expect(StateOnline, 3)
			h.after(stableAfter)
			f.damage(m)
			h.after(2 * time.Second)
			h.expect(StateOnline, 4)
		})
	}
}

// A device that waits for its key says so, and is not asked again and again.
func TestDeviceWaitsForKey(t *testing.T) {
	f := &firmware{info: device("2026.10.0", 0xff), grants: true}
	inHome(t, f, nil, func(h *home) {
		f.with(func() {
			f.far.send(&apipb.DisconnectRequest{Reason: apipb.DisconnectReason_DISCONNECT_REASON_PROVISIONING_CLOSED})
		})
		h.after(10 * time.Second)
		if h.p.State() != StateAuthFailed || !strings.Contains(h.p.LastError(), "noise_psk") {
			t.Errorf("state %v (%s)", h.p.State(), h.p.LastError())
		}
	})
}
