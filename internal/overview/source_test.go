package overview

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/hci"
	"bluez-esphome/internal/share"
	"bluez-esphome/internal/stream"
	"bluez-esphome/internal/web"
)

// TestProxies: the page gets the proxies in the order of the configuration, with their names, states, counts and lacks.
func TestProxies(t *testing.T) {
	h := newHome(t, nil)
	var got []web.Proxy
	h.eventually("the proxies are heard, and the third one is refused", func() bool {
		got = h.Source().Proxies()
		return len(got) == 3 && got[0].Adverts > 0 && got[0].Owned == 1 && got[1].Adverts > 0 && got[1].Owned == 1 && got[2].LastError != ""
	})
	for i, want := range []string{"pantry", "hall", "shed"} {
		if got[i].Name != want {
			t.Errorf("proxy %d is called %q, want %q", i, got[i].Name, want)
		}
	}
	for _, p := range got[:2] {
		if p.State != "online" || p.LastError != "" || p.Version == "" || p.Sessions != 1 || p.Read == 0 || p.Written == 0 || p.LastHeard.IsZero() || p.Slots != nil {
			t.Errorf("a proxy is shown as %+v", p)
		}
	}
	if p := got[0]; !p.SlotsKnown || p.SlotLimit != 3 || p.SlotFree != 3 || slices.ContainsFunc(p.Lacks, isPassive) {
		t.Errorf("the pantry is shown as %+v", p)
	}
	if !slices.ContainsFunc(got[1].Lacks, isPassive) {
		t.Errorf("a passive proxy lacks %q", got[1].Lacks)
	}
	if p := got[2]; p.State == "online" || !strings.Contains(p.LastError, "refused") || p.Version != "" || p.Lacks != nil || p.Failures == 0 {
		t.Errorf("a proxy that is away is shown as %+v", p)
	}

	if _, err := h.connect("D-Bus", ""); err != nil {
		t.Fatal(err)
	}
	h.eventually("a slot is in use", func() bool { got = h.Source().Proxies(); return got[0].SlotFree == 2 })
	want := []web.Slot{{Address: lamp, Name: "Lamp", State: "connected", Owners: []string{"D-Bus"}}}
	if diff := cmp.Diff(want, got[0].Slots); diff != "" {
		t.Errorf("the slots (-want +got):\n%s", diff)
	}
	if c := web.Connected(got); !slices.Equal(c, []ble.Address{lamp}) {
		t.Errorf("connected are %v", c)
	}
	if air := h.Source().Air(); air.Devices != 2 || air.Adverts == 0 {
		t.Errorf("the air is %+v", air)
	}
}

func isPassive(lack string) bool {
	return strings.HasPrefix(lack, ble.FeatureActiveConnections.String()+": passive only")
}

// TestFronts: the page gets the hosts of shared proxies, the stream and the virtual controllers.
func TestFronts(t *testing.T) {
	since := time.Unix(1e9, 0)
	var h *home
	h = newHome(t, func(c *Config) {
		c.Shares = func() []share.Status {
			return []share.Status{
				{Name: "all"},
				{Name: "pantry-shared", Proxy: h.proxy("pantry").ID(), Batches: 9, Dropped: 2, Hosts: []share.HostStatus{
					{Name: "attic", Bluetooth: true, Links: []ble.Address{1, 2}}, {Name: "cellar", Bluetooth: true, Entities: true, Links: []ble.Address{3}},
				}},
			}
		}
		c.Stream = func() (stream.Status, bool) {
			return stream.Status{State: stream.Connected, Sessions: 2, Offered: 20, Published: 10, Dropped: 4, Refused: 3, Queued: 3, Bytes: 99,
				Broker: "mqtt://broker", Topic: "t", LastError: "refused"}, true
		}
		c.Controllers = func() []hci.Status {
			return []hci.Status{{Name: "vhci", Address: 8, Stats: hci.Stats{Host: "the kernel", Since: since, Reports: 7, Dropped: 6, Lost: 5},
				Scanning: true, Active: true, Links: make([]hci.LinkStatus, 1), Connecting: true}}
		}
	})
	shares := []web.Share{{Name: "all"}, {Name: "pantry-shared", Hosts: 2, Links: 3, Proxy: "pantry", Batches: 9, Dropped: 2,
		Users: []web.ShareUser{{Name: "attic", Has: "Bluetooth"}, {Name: "cellar", Has: "both"}}}}
	if diff := cmp.Diff(shares, h.Source().Shares()); diff != "" {
		t.Errorf("the shares (-want +got):\n%s", diff)
	}
	st, on := h.Source().Stream()
	want := web.Stream{Connected: true, Sessions: 2, Offered: 20, Published: 10, Dropped: 4, Refused: 3, Queued: 3, Bytes: 99,
		State: "connected", Broker: "mqtt://broker", Topic: "t", Remark: "refused"}
	if diff := cmp.Diff(want, st); diff != "" || !on {
		t.Errorf("the stream, %v (-want +got):\n%s", on, diff)
	}
	controllers := []web.Controller{{Name: "vhci", Address: 8, Host: "the kernel", Since: since, Scanning: true, Active: true, Links: 1, Connecting: true,
		Reports: 7, Dropped: 6, Lost: 5}}
	if diff := cmp.Diff(controllers, h.Source().Controllers()); diff != "" {
		t.Errorf("the controllers (-want +got):\n%s", diff)
	}
}

// TestHealth: what is wrong with the program or its configuration is said in words.
func TestHealth(t *testing.T) {
	served, problem, restart := true, "", []string(nil)
	var stuck error
	o := New()
	o.cfg = Config{
		Served: func() bool { return served }, Loop: func(context.Context) error { return stuck },
		Remarks: func() (string, []string) { return problem, restart },
	}
	s := o.Source()
	if err := errors.Join(s.Ready(), s.Healthy(t.Context())); err != nil || s.Remarks() != nil {
		t.Errorf("with nothing wrong: %v, %q", err, s.Remarks())
	}
	served, stuck, problem, restart = false, context.DeadlineExceeded, "line 1: a\n  line 2: b\n", []string{"bus", "http"}
	if err := s.Ready(); err == nil || err.Error() != "org.bluez is not served" {
		t.Errorf("not served: %v", err)
	}
	if err := s.Healthy(t.Context()); err == nil || err.Error() != "the loop that serves the bus does not answer" {
		t.Errorf("stuck: %v", err)
	}
	want := []string{
		"The configuration on disk is not applied: line 1: a", "The configuration on disk is not applied: line 2: b", "Restart to apply: bus, http",
	}
	if diff := cmp.Diff(want, s.Remarks()); diff != "" {
		t.Errorf("the remarks (-want +got):\n%s", diff)
	}
}
