package bluezshim_test

import (
	"strings"
	"testing"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links/linkstest"

	"github.com/google/go-cmp/cmp"
)

// The states of the link in which every GATT method is called.
var linkStates = []struct {
	name  string
	reach func(h *harness, c *client)
}{
	{"connected", func(*harness, *client) {}},
	{"disconnecting", func(h *harness, c *client) {
		c.send("hci0/dev1", "Device1.Disconnect")
		h.links.Next(h.t, "Disconnect")
	}},
	{"lost", func(h *harness, c *client) {
		h.shim.LinkDown(dev1, ble.DisconnectTimeout)
	}},
	{"connecting again", func(h *harness, c *client) {
		h.shim.LinkDown(dev1, ble.DisconnectTimeout)
		c.send("hci0/dev1", "Device1.Connect")
		h.links.Next(h.t, "Connect")
	}},
	{"resolving", func(h *harness, c *client) { // the objects are those of the link before
		h.shim.LinkDown(dev1, ble.DisconnectTimeout)
		c.send("hci0/dev1", "Device1.Connect")
		op := h.links.Next(h.t, "Connect")
		h.shim.LinkUp(dev1, 247)
		op.End(nil)
	}},
	{"removed", func(h *harness, c *client) {
		h.shim.LinkDown(dev1, ble.DisconnectTimeout)
		c.send("hci0", "Adapter1.RemoveDevice", fullPath("hci0/dev1"))
		h.links.Next(h.t, "Forget")
	}},
}

// A gattCall is a GATT method called in every state. want has a cell for each of linkStates: what was asked of the
// links, "; ", and the reply, "waits" if there is none. The calls of a state are made one after another by one client,
// which subscribed charNtf before and nothing else.
type gattCall struct {
	name, path, method string
	args               []any
	want               [6]string
	source             string
}

const (
	acquired   = "ok"
	noObject   = "no object"
	offline    = "NotConnected: Not Connected"
	readOnly   = "NotAuthorized: Operation Not Authorized"
	notWritten = "NotPermitted: Write not permitted"
)

// Sources: M is matrix_gatt.json, R reconnect.json and the rule "GATT objects stay" of golden/README.md, C5 section 5
// of the contract, I issue 18, REC our choice where there is no record.
func gattCalls() []gattCall {
	value, command := []byte{1}, opt("type", "command")
	return []gattCall{
		{
			"read with the flag", charRW, "ReadValue", []any{options{}},
			[6]string{"Read 0012; ok", "Read 0012; ok", notConnected, notConnected, "Read 0012; ok", noObject},
			"M read.ok; local_disconnect_during_read; R, C5.5; REC: links have it wait for the services",
		},
		{
			"read without the flag", charCmd, "ReadValue", []any{options{}},
			[6]string{"Read 0014; ok", "Read 0014; ok", notConnected, notConnected, "Read 0014; ok", noObject},
			"M read.write_only: the peripheral refuses; R, C5.5",
		},
		{
			"read of a claimed service", charName, "ReadValue", []any{options{}},
			[6]string{"Read 0003; ok", "Read 0003; ok", notConnected, notConnected, "Read 0003; ok", noObject}, "C5.9",
		},
		{
			"read of a descriptor", descUser, "ReadValue", []any{options{}},
			[6]string{"ReadDescriptor 001e; ok", "ReadDescriptor 001e; ok", notConnected, notConnected, "ReadDescriptor 001e; ok", noObject},
			"M desc.read_user_description; C5.5",
		},
		{
			"write with the flag", charRW, "WriteValue", []any{value, options{}},
			[6]string{"Write 0012 [1]; ok", "Write 0012 [1]; ok", notConnected, notConnected, "Write 0012 [1]; ok", noObject}, "M write.ok_default; C5.5",
		},
		{
			"write of a command", charCmd, "WriteValue", []any{value, command},
			[6]string{"WriteCommand 0014 [1]; ok", "WriteCommand 0014 [1]; ok", notConnected, notConnected, "WriteCommand 0014 [1]; ok", noObject},
			"M write.default_on_wwr_only; C5.5",
		},
		{
			"write without a flag", charNone, "WriteValue", []any{value, options{}},
			[6]string{notSupported, notSupported, notConnected, notConnected, notSupported, noObject}, "M write.read_only; C5.5",
		},
		{
			"write to a claimed service", charName, "WriteValue", []any{value, options{}},
			[6]string{readOnly, readOnly, notConnected, notConnected, readOnly, noObject}, "C5.9: the state of the link comes first",
		},
		{
			"write of a descriptor", descUser, "WriteValue", []any{value, options{}},
			[6]string{"WriteDescriptor 001e [1]; ok", "WriteDescriptor 001e [1]; ok", notConnected, notConnected, "WriteDescriptor 001e [1]; ok", noObject},
			"M desc.write_writable; C5.5",
		},
		{
			"write of a CCCD", descNtf, "WriteValue", []any{value, options{}},
			[6]string{notWritten, notWritten, notConnected, notConnected, notWritten, noObject}, "M desc.write_cccd; C5.5",
		},
		{
			"acquire writing without the flag", charRW, "AcquireWrite", []any{options{}},
			[6]string{notSupported, notSupported, notConnected, notConnected, notSupported, noObject}, "M acquire_write.no_wwr; C5.7",
		},
		{
			"acquire writing of a claimed service", charName, "AcquireWrite", []any{options{}},
			[6]string{readOnly, readOnly, notConnected, notConnected, readOnly, noObject}, "C5.7",
		},
		{
			"acquire writing", charCmd, "AcquireWrite", []any{options{}},
			[6]string{acquired, acquired, notConnected, notConnected, "waits", noObject}, "M acquire_write.ok; C5.7: delayed until GATT is ready",
		},
		{
			"acquire notifications without the flag", charRW, "AcquireNotify", []any{options{}},
			[6]string{notSupported, notSupported, notConnected, notConnected, notSupported, noObject}, "M acquire_notify.not_notifiable; C5.7",
		},
		{
			"acquire notifications beside a session", charNtf, "AcquireNotify", []any{options{}},
			[6]string{inProgress, inProgress, notConnected, notConnected, inProgress, noObject}, "M acquire_notify_while_started; C5.7",
		},
		{
			"acquire notifications", charAll, "AcquireNotify", []any{options{}},
			[6]string{"Subscribe 001c; ok", "Subscribe 001c; ok", notConnected, notConnected, "Subscribe 001c; ok", noObject}, "M acquire_notify.ok; C5.7",
		},
		{
			"stop without a session", charInd, "StopNotify", nil,
			[6]string{noSession, noSession, noSession, noSession, noSession, noObject}, "M notify.stop_not_started; REC",
		},
		{
			"start without the flag", charRW, "StartNotify", nil,
			[6]string{notSupported, offline, notSupported, notSupported, notSupported, noObject}, "M notify.start_not_notifiable; C5.6",
		},
		{
			"start", charInd, "StartNotify", nil,
			[6]string{"Subscribe 0019; ok", offline, "Subscribe 0019; ok", "Subscribe 0019; ok", "Subscribe 0019; ok", noObject}, "M notify.start; README; C5.6",
		},
		{
			"start again, by the same client", charInd, "StartNotify", nil,
			[6]string{"ok", offline, inProgress, inProgress, "ok", noObject}, "M notify.start_twice; I",
		},
		{
			"start again after the link of the session", charNtf, "StartNotify", nil,
			[6]string{"ok", offline, inProgress, inProgress, inProgress, noObject}, "M notify.start_twice; I; C5.6: being set up again",
		},
		{
			"stop", charNtf, "StopNotify", nil,
			[6]string{"Unsubscribe 0016; ok", "Unsubscribe 0016; ok", "Unsubscribe 0016; ok", "Unsubscribe 0016; ok", "Unsubscribe 0016; ok", noObject}, "M notify.stop; C5.6",
		},
		{
			"stop again", charNtf, "StopNotify", nil,
			[6]string{noSession, noSession, noSession, noSession, noSession, noObject}, "M notify.stop_twice",
		},
	}
}

// TestGattInEveryState calls every GATT method in every state of the link. A device that was never connected has no
// GATT objects, like one that was removed.
func TestGattInEveryState(t *testing.T) {
	t.Parallel()
	for i, state := range linkStates {
		t.Run(state.name, func(t *testing.T) {
			t.Parallel()
			h := start(t, 1)
			c := h.client()
			h.links.Auto("Read", func(o *linkstest.Op) { o.Answer(7) })
			h.links.Auto("ReadDescriptor", func(o *linkstest.Op) { o.Answer(7) })
			for _, kind := range []string{"Write", "WriteCommand", "WriteDescriptor", "Subscribe"} {
				h.links.Auto(kind, func(o *linkstest.Op) { o.End(nil) })
			}
			h.links.Auto("Unsubscribe", func(*linkstest.Op) {})
			h.connected(c, database(gapService(), customService()))
			_, e := c.call(charNtf, char1+"StartNotify")
			check(t, "StartNotify", e, "")
			state.reach(h, c)
			c.lines()
			h.links.Keep()
			h.links.Kept()
			for _, call := range gattCalls() {
				iface := char1
				if strings.Contains(call.path, "/desc") {
					iface = desc1
				}
				c.sendAs("#", call.path, iface+call.method, call.args...)
				reply := "waits"
				for _, line := range c.lines() {
					if text, ok := strings.CutPrefix(line, "#: "); ok {
						reply = text
					}
				}
				if strings.HasPrefix(reply, "DBus.Error.UnknownObject") {
					reply = noObject
				} else if strings.HasPrefix(reply, "ok") {
					reply = "ok" // values are of other tests
				}
				got := strings.Join(append(h.links.Kept(), reply), "; ")
				if diff := cmp.Diff(call.want[i], got); diff != "" {
					t.Errorf("%s (%s) (-want +got):\n%s", call.name, call.source, diff)
				}
			}
		})
	}
}

// TestCallsThatWaitForTheServices: what was asked for on a link whose services are not known yet ends with them, or
// with the link.
func TestCallsThatWaitForTheServices(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		then   func(h *harness)
		write  string // the reply of AcquireWrite
		notify string // of another client's StartNotify
	}{
		{"resolved", func(h *harness) { h.shim.Resolved(dev1, database(customService()), 100) }, "", ""},
		{
			"lost", func(h *harness) { h.shim.LinkDown(dev1, ble.DisconnectTimeout) },
			"Failed: Operation failed with ATT error: 0x0e", "Failed: Operation failed with ATT error: 0x0e",
		},
		{
			"resolved with other services", func(h *harness) { h.shim.Resolved(dev1, database(gapService()), 100) },
			"Failed: Operation failed with ATT error: 0x0e", "Failed: Operation failed with ATT error: 0x0e",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := start(t, 1)
			c, other := h.client(), h.client()
			h.links.Auto("Subscribe", func(o *linkstest.Op) { o.End(nil) })
			h.links.Auto("Unsubscribe", func(*linkstest.Op) {})
			h.links.Auto("Read", func(o *linkstest.Op) { o.End(ble.ATTReadNotPermitted) })
			h.connected(c, database(customService()))
			_, e := c.call(charNtf, char1+"StartNotify")
			check(t, "StartNotify", e, "")
			linkStates[4].reach(h, c)
			other.lines()
			other.sendAs("write", charCmd, char1+"AcquireWrite", options{})
			other.sendAs("twice", charCmd, char1+"AcquireWrite", options{})
			other.sendAs("value", charCmd, char1+"WriteValue", []byte{1}, options{})
			other.sendAs("notify", charNtf, char1+"StartNotify")
			other.want("twice: NotPermitted: Write acquired", "value: NotPermitted: Write acquired")
			tt.then(h)
			replies := map[string]string{}
			for _, line := range other.lines() {
				if name, reply, ok := strings.Cut(line, ": "); ok && (name == "write" || name == "notify") {
					replies[name] = reply
				}
			}
			for name, want := range map[string]string{"write": tt.write, "notify": tt.notify} {
				got := replies[name]
				if want == "" && strings.HasPrefix(got, "ok") {
					continue
				}
				check(t, name, got, want)
			}
		})
	}
}
