package replay

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recording is a file of tests/golden/testdata.
type recording struct {
	Scenario    string
	AdapterPath string `json:"adapter_path"`
	Adapter     map[string]any
	Devices     map[string]any
	Events      []event
}

func load(t *testing.T, name string) *recording {
	t.Helper()
	var r recording
	if err := json.Unmarshal(readFile(t, name+".json"), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Events) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return &r
}

// dev is the object of the device "main".
func (r *recording) dev() dbus.ObjectPath {
	return hci0 + "/dev_" + dbus.ObjectPath(strings.ReplaceAll(r.Devices["main"].(string), ":", "_"))
}

// The driver does this before a scenario and does not record it.
const (
	nothing = iota
	found
	connected
)

// TestReplay plays the scenarios.
func TestReplay(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]int{
		"objects": nothing, "discovery_advert_change": nothing,
		"connect_order": found, "connect_twice_concurrently": found, "device_properties": found,
		"reconnect": connected, "peer_disconnects": connected, "link_loss": connected, "disconnect_during_read": connected,
		"remove_while_connected": connected, "power_off_while_connected": connected,
		"notify_and_indicate": connected, "notify_client_vanishes": connected, "acquire_notify": connected, "acquire_write": connected,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := load(t, name)
			p := newPlayer(t, r, before)
			steps := p.play(r.Events)
			t.Logf("%d steps, %d facts", steps, p.facts)
		})
	}
}

// TestMatrix plays the error matrix: each case is one call and its result.
func TestMatrix(t *testing.T) {
	t.Parallel()
	other := map[string]bool{} // cases that a second client plays; the recordings do not say so
	for _, id := range []string{
		"notify.stop_other_client", "notify.acquire_by_other_while_started",
		"agent.unregister_other_client", "agent.request_default_other_client", "agent.register_by_other_client",
		"discovery.stop_by_other_client", "discovery.start_by_second_client", "discovery.set_filter_while_discovering",
		"discovery.stop_last", "discovery.stop_after_stop",
	} {
		other[id] = true
	}
	for name, before := range map[string]int{
		"matrix_bus": found, "matrix_discovery": nothing, "matrix_gatt": connected, "matrix_agent": nothing, "matrix_unpowered": connected,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := load(t, name)
			p := newPlayer(t, r, before)
			if name == "matrix_unpowered" {
				p.call(hci0, properties+".Set", adapter1, "Powered", dbus.MakeVariant(false))
				p.until("it is off", func(o map[string]any) bool {
					return prop(o, hci0, adapter1, "PowerState") == "off" && prop(o, r.dev(), device1, "Connected") == false
				})
			}
			cases, left := 0, 0
			for _, e := range r.Events {
				id, _ := e["id"].(string)
				switch {
				case e["type"] != "case":
				case strings.HasPrefix(id, "slow."): // several at once, recorded as they ended
					left++
				default:
					if id == "remove.known" {
						p.found(r.dev())
					}
					p.matrixCase(id, e, map[bool]string{true: "b", false: "a"}[other[id]])
					cases++
				}
			}
			t.Logf("%d cases, %d of several calls at once left to the driver", cases, left)
		})
	}
}

func (p *player) matrixCase(id string, e event, client string) {
	p.t.Helper()
	call, _ := e["call"].(map[string]any)
	result, _ := e["result"].(map[string]any)
	c := p.client(client).Object("org.bluez", dbus.ObjectPath(call["path"].(string))).
		Call(fmt.Sprintf("%s.%s", call["interface"], call["member"]), 0, arguments(p.t, call["args"])...)
	theirs, ours := fmt.Sprintf("case %s %s", id, p.golden.reply(result)), fmt.Sprintf("case %s %s", id, p.ours.reply(replyEvent(c)))
	if theirs != ours && !(isExcused(theirs, false) && isExcused(ours, true)) {
		p.t.Errorf("- %s\n+ %s", theirs, ours)
	}
}

// TestIntrospection compares the kinds of nodes as sets of members.
func TestIntrospection(t *testing.T) {
	t.Parallel()
	r := load(t, "introspect")
	p := newPlayer(t, r, connected)
	n := 0
	for _, e := range r.Events {
		if e["type"] != "introspect" {
			continue
		}
		path, file := dbus.ObjectPath(e["path"].(string)), e["file"].(string)
		var xml string
		err := p.client("a").Object("org.bluez", path).Call("org.freedesktop.DBus.Introspectable.Introspect", 0).Store(&xml)
		if (err != nil) != (e["error"] != nil) {
			t.Errorf("%s: %v, bluetoothd: %v", path, err, e["error"])
		}
		if err != nil {
			continue
		}
		theirs, ours := interfaceFacts(t, readFile(t, file)), interfaceFacts(t, []byte(xml))
		for _, f := range theirs {
			if !slices.Contains(ours, f) {
				t.Errorf("%s: missing: %s", path, f)
			}
		}
		for _, f := range ours {
			if !slices.Contains(theirs, f) {
				t.Errorf("%s: surplus: %s", path, f)
			}
		}
		n++
	}
	t.Logf("%d nodes", n)
}
