package gatt_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

// lockedBuffer is a log that is read meanwhile.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestWhy: the beginning and the end of a link are a line each, with its number and the reason in words, and the
// history says the same.
func TestWhy(t *testing.T) {
	for _, tc := range []struct {
		name  string
		end   func(w *world, p *gatttest.Proxy)
		why   string
		local bool
	}{
		{"on request", func(w *world, _ *gatttest.Proxy) { w.disconnect(addrA) }, "disconnected on request", true},
		{"the device ends it", func(_ *world, p *gatttest.Proxy) { p.DropLink(addrA, 0x13) }, "near: link ended: ended by the peripheral (0x13)", false},
		{"the device falls silent", func(_ *world, p *gatttest.Proxy) { p.DropLink(addrA, 0x08) }, "near: link ended: supervision timeout (0x08)", false},
		{"the proxy goes", func(_ *world, p *gatttest.Proxy) { p.GoOffline() },
			"the proxy went offline: proxy near went offline: connection reset by peer", false},
		{"the proxy forgets it", func(_ *world, p *gatttest.Proxy) { p.LoseSilently(addrA); p.Vacate(addrA) }, "near: link ended without a report", false},
		{"the proxy is removed", func(w *world, _ *gatttest.Proxy) { w.m.RemoveProxy("near") }, "the proxy went offline: proxy near was removed", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lockedBuffer
				p := gatttest.New("near", thermometer(addrA))
				cfg := gatt.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}
				run(t, cfg, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
					w.hears(addrA, "near")
					if err := w.connect(addrA, ""); err != nil {
						t.Fatal(err)
					}
					settle(3 * time.Second)
					if at := w.m.Attempts(9); len(at) != 1 || at[0].Error != "" || at[0].Took != 100*time.Millisecond || !at[0].Ended.IsZero() ||
						len(at[0].Tries) != 1 || at[0].Tries[0].Result != "connected" || at[0].Tries[0].RSSI != -50 {
						t.Errorf("while it is up: %+v", at)
					}
					trouble := w.m.ProxyTrouble
					tc.end(w, p)
					settle(time.Second)
					at := w.m.Attempts(1)[0]
					if at.Why != tc.why || at.Local != tc.local || at.Ended.IsZero() {
						t.Errorf("history: why %q, local %v, want %q, %v", at.Why, at.Local, tc.why, tc.local)
					}
					if got := w.m.DeviceTrouble(addrA).What; (got == tc.why) == tc.local {
						t.Errorf("trouble of the device: %q", got)
					}
					if got := trouble("near").What; tc.name != "the proxy is removed" && (got == tc.why) == tc.local {
						t.Errorf("trouble of the proxy: %q", got)
					}
				})
				for _, want := range []string{
					`level=INFO msg=connected link=1 device=AA:00:00:00:00:01 proxy=near mtu=247`,
					`level=INFO msg=disconnected link=1 device=AA:00:00:00:00:01 proxy=near after=\S+ why=["]?` + regexp.QuoteMeta(tc.why),
				} {
					if !regexp.MustCompile(want).MatchString(log.String()) {
						t.Errorf("no line %q in\n%s", want, log.String())
					}
				}
				if strings.Contains(log.String(), "deadline exceeded") || strings.Contains(log.String(), "level=WARN") && tc.name != "the proxy forgets it" {
					t.Errorf("log:\n%s", log.String())
				}
			})
		})
	}
}

// TestClientLeaves: nobody is warned when whoever wanted a connection leaves, whatever the proxy makes of it.
func TestClientLeaves(t *testing.T) {
	for _, firmware := range []string{"2026.10.0", "2026.7.0"} {
		for _, after := range []time.Duration{50 * time.Millisecond, 99 * time.Millisecond, time.Second} {
			synctest.Test(t, func(t *testing.T) {
				var log lockedBuffer
				p := gatttest.New("near", thermometer(addrA))
				p.Firmware, p.DoubleReport = firmware, firmware == "2026.7.0"
				p.DisconnectDelay = 7 * time.Second // longer than a slot is waited for
				if after == time.Second {
					p.Script = always(gatttest.Outcome{Hang: true})
				}
				run(t, gatt.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
					w.hears(addrA, "near")
					w.m.Connect(addrA, ble.Public, "", func(error) {})
					settle(after)
					w.m.CancelConnect(addrA)
					settle(30 * time.Second)
				})
				if strings.Contains(log.String(), "level=WARN") || strings.Contains(log.String(), "deadline") {
					t.Errorf("%s, after %v:\n%s", firmware, after, log.String())
				}
			})
		}
	}
}

// TestAttempts: what a Connect went through can be told afterwards, of the last ones only.
func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := thermometer(addrA)
		near, far := gatttest.New("near", dev), gatttest.New("far", dev)
		near.Script = always(gatttest.Outcome{Delay: 100 * time.Millisecond, Code: 0x3e})
		far.SetLimitQuietly(0)
		run(t, gatt.Config{}, []*gatttest.Proxy{near, far}, func(t *testing.T, w *world) {
			w.hears(addrA, "near", "far")
			time.AfterFunc(3*time.Second, func() { far.SetLimit(1) })
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			at := w.m.Attempts(1)[0]
			if len(at.Tries) != 3 || at.Tries[0].Result != "failed to establish (0x3e)" || at.Tries[2].Proxy != "far" || at.Proxy != "far" ||
				at.SlotWait < 2*time.Second || at.Took < 3*time.Second {
				t.Errorf("%+v", at)
			}
			w.disconnect(addrA)
			w.hears(addrA)
			for range 300 {
				if err := w.connect(addrB, ""); err == nil {
					t.Fatal("connected to nobody")
				}
			}
			all := w.m.Attempts(10_000)
			if len(all) != 256 || !strings.Contains(all[0].Error, "no proxy heard") {
				t.Errorf("%d attempts, the last: %+v", len(all), all[0])
			}
			if got := w.m.DeviceTrouble(addrB).What; !strings.Contains(got, "no proxy heard") {
				t.Errorf("trouble: %q", got)
			}
		})
	})
}

// TestAsked: who wanted a connection is told with it, those who joined included, and what became of all Connects and
// links is counted.
func TestAsked(t *testing.T) {
	owned(t, false, func(t *testing.T, w *world, _ *gatttest.Proxy, program, host *party) {
		m := w.m
		for range 2 {
			program.Connect(addrB, ble.Public, "", func(error) {})
		}
		host.Connect(addrB, ble.Public, "", func(error) {})
		settle(time.Minute)
		at := m.Attempts(9)
		if len(at) != 1 || strings.Join(at[0].Asked, ", ") != "bus, host" || at[0].Result != gatt.ResultTimeout {
			t.Errorf("%+v", at)
		}
		program.Connect(addrB, ble.Public, "", func(error) {})
		settle(time.Second)
		program.CancelConnect(addrB)
		settle(time.Second)
		if at := m.DeviceAttempts(addrB, 1); len(at) != 1 || at[0].Result != gatt.ResultCanceled {
			t.Errorf("called off: %+v", at)
		}
		if got := m.DeviceTrouble(addrB).What; !strings.Contains(got, "no proxy heard") {
			t.Errorf("who calls off is no trouble; it is %q", got)
		}
		if c := m.Counts(); c.Connects[gatt.ResultTimeout] != 1 || c.Connects[gatt.ResultCanceled] != 1 || len(c.Connects) != len(gatt.Results) || len(c.Ends) != len(gatt.Ends) {
			t.Errorf("%+v", c)
		}
		if n := len(m.DeviceAttempts(addrA, 9)); n != 0 {
			t.Errorf("%d of a device that nobody asked for", n)
		}
	})
}

// TestSlotWait: a wait for a slot is told also if it was in vain, and a lost notification with the link.
func TestSlotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatttest.New("near", thermometer(addrA))
		run(t, gatt.Config{SlotWait: 3 * time.Second}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.hears(addrA, "near")
			p.SetLimit(0)
			if err := w.connect(addrA, ""); err == nil {
				t.Fatal("connected without a slot")
			}
			if at := w.m.Attempts(1)[0]; at.SlotWait < 3*time.Second || at.Result != gatt.ResultNoSlot {
				t.Errorf("%+v", at)
			}
			p.SetLimit(1)
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			w.m.ValueLost(addrA)
			w.m.ValueLost(addrB)
			p.DropLink(addrA, 0x08)
			settle(time.Second)
			c := w.m.Counts()
			if at := w.m.Attempts(1)[0]; at.Lost != 1 || c.ValuesLost != 2 || c.Ends[gatt.EndSilent] != 1 {
				t.Errorf("%+v, %+v", at, c)
			}
		})
	})
}

// TestWhyEarly: the reason is in words as well where a link ends while its services are listed, or right after that.
func TestWhyEarly(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(w *world, p *gatttest.Proxy)
		why  string
	}{
		{"on request", func(w *world, _ *gatttest.Proxy) { w.disconnect(addrA) }, "disconnected on request"},
		{"the device ends it", func(_ *world, p *gatttest.Proxy) { p.DropLink(addrA, 0x13) }, "near: link ended: ended by the peripheral (0x13)"},
		{"the device falls silent", func(_ *world, p *gatttest.Proxy) { p.DropLink(addrA, 0x08) }, "near: link ended: supervision timeout (0x08)"},
	} {
		for at := range 16 {
			t.Run(fmt.Sprint(tc.name, " ", at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var log lockedBuffer
					p := gatttest.New("near", withGATT(thermometer(addrA), "hash"))
					run(t, gatt.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
						w.hears(addrA, "near")
						if err := w.connect(addrA, ""); err != nil {
							t.Fatal(err)
						}
						time.Sleep(time.Duration(at*at) * time.Millisecond)
						tc.end(w, p)
						settle(5 * time.Second)
						if got := w.m.Attempts(1)[0].Why; got != tc.why {
							t.Errorf("history: why %q, want %q", got, tc.why)
						}
					})
					if strings.Contains(log.String(), "context canceled") {
						t.Errorf("log:\n%s", log.String())
					}
				})
			})
		}
	}
}

// TestAttemptsRevision: whatever becomes of an attempt, its waits, its link and its lost notifications, changes the number
// by which a reader knows that there is something new; and nothing else does.
func TestAttemptsRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := thermometer(addrA)
		near, far := gatttest.New("near", dev), gatttest.New("far", dev)
		near.Script = always(gatttest.Outcome{Delay: 100 * time.Millisecond, Code: 0x3e})
		far.SetLimitQuietly(0)
		run(t, gatt.Config{}, []*gatttest.Proxy{near, far}, func(t *testing.T, w *world) {
			w.hears(addrA, "near", "far")
			var before []gatt.Attempt
			var revision uint64
			changes := 0
			look := func(after string) {
				t.Helper()
				settle(0)
				now, number := w.m.Attempts(9), w.m.AttemptsRevision()
				if same := reflect.DeepEqual(now, before); !same && number == revision {
					t.Errorf("%s: the number is the same, with\n%+v\nbefore\n%+v", after, now, before)
				}
				if number != revision {
					changes++
				}
				before, revision = now, number
			}
			time.AfterFunc(3*time.Second, func() { far.SetLimit(1) })
			done := make(chan error, 1)
			w.m.Connect(addrA, ble.Public, "", func(err error) { done <- err })
			for waiting := true; waiting; {
				look("while it is under way")
				select {
				case <-done:
					waiting = false
				case <-time.After(50 * time.Millisecond):
				}
			}
			look("connected")
			w.m.ValueLost(addrA)
			look("a notification is lost")
			still := changes
			settle(time.Minute)
			look("nothing happens")
			if changes != still || still < 5 {
				t.Errorf("%d changes, then %d while nothing happened", still, changes-still)
			}
			far.DropLink(addrA, 0x13)
			look("the link ended")
			if got := w.m.DeviceTroubles(); len(got) != 1 || got[addrA] != w.m.DeviceTrouble(addrA) || got[addrA].What == "" {
				t.Errorf("troubles: %+v", got)
			}
		})
	})
}
