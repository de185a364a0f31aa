package apiconn

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// home is a proxy of that firmware and the program, brought up.
type home struct {
	*bench
	t *testing.T
	f *firmware
}

// inHome runs do with a proxy whose far ends all act as f, in a bubble.
func inHome(t *testing.T, f *firmware, change func(*Config), do func(h *home)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, change)
		h := &home{bench: b, t: t, f: f}
		done := make(chan struct{})
		served := make(chan struct{})
		go func() {
			defer close(served)
			for {
				select {
				case conn := <-b.dials:
					far := newPeer(t, conn)
					if f.psk != nil {
						secure, err := apiwire.ServerHandshake(conn, apiwire.ServerNoise{PSK: *f.psk, Name: f.info.Name, MAC: "aabbccddee01"})
						if err != nil {
							t.Error(err)
						}
						far.f = secure
					}
					f.with(func() { f.far = far })
					f.serve()
					_ = conn.Close()
				case <-done:
					return
				}
			}
		}()
		started := only(func() error { return b.p.Start(t.Context()) })
		h.after(time.Second)
		do(h)
		b.p.Stop()
		_ = started()
		close(done)
		<-served
	})
}

func (h *home) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (h *home) expect(state State, subscribed int) {
	h.t.Helper()
	n := 0
	h.f.with(func() { n = len(h.f.subscribed) })
	if h.p.State() != state || n != subscribed {
		h.t.Errorf("state %v (%s), subscribed %d times, want %v and %d", h.p.State(), h.p.LastError(), n, state, subscribed)
	}
}

func device(version string, flags uint32) *apipb.DeviceInfoResponse {
	info := deviceInfo()
	info.EsphomeVersion, info.BluetoothProxyFeatureFlags = version, flags
	return info
}

// §11.1: from 2026.8 on the proxy is asked before it is taken, and each minute while another host has it.
func TestAskBeforeTaking(t *testing.T) {
	for _, version := range []string{"2026.8.0", "2026.10.0", "2027.1.0"} {
		f := &firmware{info: device(version, 0xff), other: true, grants: true}
		inHome(t, f, nil, func(h *home) {
			h.expect(StateDisplaced, 0)
			if !strings.Contains(h.p.LastError(), "another host (Home Assistant?) uses this proxy: ") {
				t.Errorf("%s: %s", version, h.p.LastError())
			}
			h.after(10 * time.Minute)
			h.expect(StateDisplaced, 0)
			if f.questions < 10 || f.questions > 20 {
				t.Errorf("%s: asked %d times in ten minutes", version, f.questions)
			}
			f.with(func() { f.other = false })
			h.after(time.Minute + time.Second)
			h.expect(StateOnline, 1)
			if f.asked || h.p.Note() != "" {
				t.Errorf("%s: the question was not ended, or note %q", version, h.p.Note())
			}
		})
	}
}

// A host that is displaced is not told of the slots, and a question needs one. If the other host took the last slot, nothing
// is held for the question, which says nothing of whether the proxy has a subscriber.
func TestLastSlotIsTaken(t *testing.T) {
	full := func() *firmware {
		return &firmware{info: device("2026.10.0", 0xff), other: true, grants: true, foreign: []uint64{7, 8}, last: 9}
	}
	t.Run("at first", func(t *testing.T) {
		inHome(t, full(), nil, func(h *home) {
			h.after(10 * time.Minute)
			h.expect(StateDisplaced, 0)
			h.f.with(func() { h.f.other, h.f.foreign = false, nil })
			h.after(time.Minute + time.Second)
			h.expect(StateOnline, 1)
		})
	})
	t.Run("later", func(t *testing.T) {
		f := &firmware{info: device("2026.10.0", 0xff), grants: true}
		inHome(t, f, nil, func(h *home) {
			h.expect(StateOnline, 1)
			f.with(func() { f.ours, f.other, f.foreign = false, true, []uint64{7, 8} }) // it takes the subscription
			h.after(5 * time.Second)
			h.expect(StateDisplaced, 1)
			for i := range 10 {
				f.with(func() { f.foreign, f.last = []uint64{7, 8}, 9 })
				h.after(time.Minute)
				if s := h.p.State(); s != StateDisplaced {
					h.t.Errorf("after %d minutes it is %v", i+1, s)
				}
			}
			h.expect(StateDisplaced, 1)
			if f.questions < 5 {
				h.t.Errorf("asked %d times", f.questions)
			}
		})
	})
}

// The wait for the answer is no work, for which a proxy that floods has to pause.
func TestQuestionIsNoWork(t *testing.T) {
	f := &firmware{info: device("2026.10.0", 0xff), grants: true}
	inHome(t, f, nil, func(h *home) {
		h.expect(StateOnline, 1)
		if debt := h.p.current.Load().busy.debt; f.questions != 1 || debt > sweepWithin/4 {
			h.t.Errorf("asked %d times, %v of work", f.questions, debt)
		}
	})
}

// Nobody has it: it is ours within a second, and nobody is warned of a host before.
func TestNobodyHasIt(t *testing.T) {
	f := &firmware{info: device("2026.10.0", 0xff), grants: true}
	inHome(t, f, nil, func(h *home) {
		h.expect(StateOnline, 1)
		if f.questions != 1 || f.asked || h.p.Note() != "" {
			t.Errorf("asked %d times, note %q", f.questions, h.p.Note())
		}
	})
}

// A proxy that a daemon shares is for several hosts at once: whatever its slots are taken for, it is used and nobody is
// asked, warned or told to let go; and while it hears nothing it is deaf, not somebody else's.
func TestSharedIsNobodysAlone(t *testing.T) {
	for _, version := range []string{"2025.11.0", "2026.7.4", "2026.10.0"} {
		info := device(version, 0xff)
		info.ProtoReflect().SetUnknown(apiwire.AppendVia(nil, []string{"02:00:00:00:00:07 attic"}))
		f := &firmware{info: info, grants: true, foreign: []uint64{7, 8, 9}}
		inHome(t, f, nil, func(h *home) {
			h.expect(StateOnline, 1)
			f.with(func() { f.dull = true })
			h.after(5 * time.Minute)
			if h.p.State() != StateDeaf {
				t.Errorf("%s: it is %v though nothing is heard", version, h.p.State())
			}
			f.with(func() { f.far.send(freeSlots(7, 8), freeSlots(7, 8, 9)) })
			h.after(time.Second)
			if s := h.p.State(); s != StateDeaf || f.questions != 0 || len(f.dropped) != 0 || h.p.Note() != "" {
				t.Errorf("%s: %v, asked %d times, asked to drop %x, note %q", version, s, f.questions, f.dropped, h.p.Note())
			}
			f.with(func() { f.far.send(heard()) })
			h.after(time.Second)
			if s := h.p.State(); s != StateOnline {
				t.Errorf("%s: %v though it hears again", version, s)
			}
		})
	}
}

// Firmware up to 2026.7 would lose the slot of the question for good.
func TestNeverAskedBefore202608(t *testing.T) {
	for _, version := range []string{"2024.10.0", "2025.11.0", "2026.6.5", "2026.7.4", "", "nonsense"} {
		f := &firmware{info: device(version, 0xff), grants: true}
		inHome(t, f, nil, func(h *home) {
			h.expect(StateOnline, 1)
			f.with(func() { f.ours, f.grants = false, false })
			h.after(2 * time.Hour)
			if f.questions != 0 {
				t.Errorf("%q was asked %d times", version, f.questions)
			}
		})
	}
}

// §11.2: up to 2026.6 a subscription that is not proved when the slots come was refused.
func TestRefusedAtOnce(t *testing.T) {
	for _, c := range []struct {
		version string
		flags   uint32
	}{{"2024.10.0", 0x3f}, {"2025.11.0", 0xff}, {"2026.6.5", 0xff}} {
		f := &firmware{info: device(c.version, c.flags), other: true}
		inHome(t, f, nil, func(h *home) {
			h.expect(StateDisplaced, 1)
			if h.p.Online() {
				t.Errorf("%s: it can be used", c.version)
			}
			f.with(func() { f.other, f.grants = false, true })
			h.after(time.Minute)
			h.expect(StateOnline, 2)
		})
	}
}

// E4 of the users' reports: a slot that is stuck costs that slot, not the proxy; it is released once the proxy is known
// to be ours.
func TestE4StuckSlot(t *testing.T) {
	const stuck = 0xC0FFEE000009
	for _, version := range []string{"2024.10.0", "2025.11.0", "2026.6.5", "2026.10.0"} {
		f := &firmware{info: device(version, 0xff), grants: true, foreign: []uint64{stuck}}
		inHome(t, f, nil, func(h *home) {
			h.expect(StateOnline, 1)
			if s := h.p.Slots(); s.Free != 2 || s.Limit != 3 {
				t.Errorf("%s: slots %+v", version, s)
			}
			h.after(time.Minute)
			h.expect(StateOnline, 1)
			if !slices.Equal(f.dropped, []uint64{stuck}) {
				t.Errorf("%s: asked to drop %x", version, f.dropped)
			}
		})
	}
	// 2026.7 frees the links of a subscriber that is gone: another host is at work, or the slot is stuck.
	inHome(t, &firmware{info: device("2026.7.4", 0xff), grants: true, foreign: []uint64{stuck}}, nil, func(h *home) {
		h.expect(StateDisplaced, 0)
		if !strings.Contains(h.p.LastError(), "a slot is stuck: restart the proxy") {
			t.Error(h.p.LastError())
		}
	})
	// All slots in use is an answer by itself.
	inHome(t, &firmware{info: device("2026.10.0", 0xff), grants: true, foreign: []uint64{stuck, 5, 6}}, nil, func(h *home) {
		h.expect(StateDisplaced, 0)
	})
}

// Our own slot that stays in use after its link is not another host's.
func TestE4OwnStuckSlot(t *testing.T) {
	f := &firmware{info: device("2026.7.4", 0xff), grants: true}
	inHome(t, f, nil, func(h *home) {
		connect := result(func() (int, error) { return h.p.Connect(h.t.Context(), testAddr, ble.Public, false) })
		f.with(func() {
			f.foreign = []uint64{wireAddr}
			f.far.send(freeSlots(wireAddr), &apipb.BluetoothDeviceConnectionResponse{Address: wireAddr, Connected: true, Mtu: 100})
		})
		if _, err := connect(); err != nil {
			t.Fatal(err)
		}
		f.with(func() { f.far.send(&apipb.BluetoothDeviceConnectionResponse{Address: wireAddr, Error: 8}) })
		synctest.Wait()
		f.with(func() { _ = f.far.conn.Close() }) // and the session is lost
		h.after(5 * time.Second)
		h.expect(StateOnline, 2)
	})
}

// Our last session, of which the proxy does not know that it is over, is not another host.
func TestOwnGhost(t *testing.T) {
	f := &firmware{info: device("2026.10.0", 0xff), grants: true}
	inHome(t, f, nil, func(h *home) {
		f.with(func() { f.ours, f.other = false, true; _ = f.far.conn.Close() })
		h.after(5 * time.Second)
		h.expect(StateOnline, 2)
	})
}

// Take takes it from whoever has it; Retry only looks at once, as a reload does.
func TestTakeAndRetry(t *testing.T) {
	for _, version := range []string{"2026.7.4", "2026.10.0"} {
		f := &firmware{info: device(version, 0xff), grants: true}
		inHome(t, f, nil, func(h *home) { // lost while a session is up
			f.with(func() { f.ours, f.other = false, true })
			h.after(5 * time.Second)
			h.expect(StateDisplaced, 1)
			h.p.Retry()
			h.after(2 * time.Second)
			h.expect(StateDisplaced, 1)
			h.p.Take()
			h.after(time.Second)
			h.expect(StateOnline, 2)
			f.with(func() { f.ours, f.other = false, true })
			h.after(5 * time.Second)
			if version == "2026.7.4" {
				return // which does not tell that it is free
			}
			f.with(func() { f.other = false })
			h.p.Retry()
			h.after(time.Second)
			h.expect(StateOnline, 3)
		})
	}
	f := &firmware{info: device("2026.10.0", 0xff), grants: true, other: true}
	inHome(t, f, nil, func(h *home) { // no session: it waits to look again
		h.after(time.Hour)
		h.p.Retry()
		h.after(time.Second)
		h.expect(StateDisplaced, 0)
		h.p.Take()
		h.after(time.Second)
		h.expect(StateOnline, 1)
	})
}

// §11.4: a proxy that is another's is left alone; the scan mode that we set is restored when it is lost, and set again
// when it is back.
func TestHandsOff(t *testing.T) {
	f := &firmware{info: device("2026.10.0", 0xff), grants: true}
	inHome(t, f, nil, func(h *home) {
		if err := h.p.SetScannerMode(h.t.Context(), ble.ScanActive); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f.with(func() { f.ours, f.other = false, true })
		h.after(5 * time.Second)
		const passive, active = apipb.BluetoothScannerMode_BLUETOOTH_SCANNER_MODE_PASSIVE, apipb.BluetoothScannerMode_BLUETOOTH_SCANNER_MODE_ACTIVE
		if !slices.Equal(f.modes, []apipb.BluetoothScannerMode{active, passive}) {
			t.Errorf("set modes %v", f.modes)
		}
		if err := h.p.SetScannerMode(h.t.Context(), ble.ScanActive); err == nil {
			t.Error("the mode of a proxy that is another's was set")
		}
		if _, err := h.p.Connect(h.t.Context(), testAddr, ble.Public, false); err == nil {
			t.Error("a proxy that is another's dialled")
		}
		for what, err := range map[string]error{
			"unpair": h.p.Unpair(h.t.Context(), testAddr), "clear": h.p.ClearCache(h.t.Context(), testAddr),
			"write":      h.p.Write(h.t.Context(), testAddr, 3, nil, false),
			"disconnect": h.p.Disconnect(h.t.Context(), testAddr),
		} {
			wantError(t, err, ble.ErrNotConnected)
			_ = what
		}
		h.after(time.Second)
		if len(f.modes) != 2 || len(f.dropped) != 0 {
			t.Errorf("modes %v, dropped %x", f.modes, f.dropped)
		}
		f.with(func() { f.other = false })
		h.after(time.Minute + time.Second)
		h.expect(StateOnline, 2)
		if len(f.modes) != 3 || f.modes[2] != active {
			t.Errorf("modes after it is back: %v", f.modes)
		}
	})
}

// One warning for all proxies that may have been taken from another host, and none for those that tell.
func TestOneWarningForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		v := NewPrevious(slog.New(slog.NewTextHandler(&log, nil)))
		for _, name := range []string{"kitchen", "attic\x1b[2J", "hall"} {
			v.add(&Proxy{name: name})
			time.Sleep(time.Second)
		}
		time.Sleep(previousWait)
		synctest.Wait()
		if s := log.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "level=WARN") || !strings.Contains(s, "kitchen, attic?[2J, hall") {
			t.Error(s)
		}
		(*Previous)(nil).add(&Proxy{})
	})
}
