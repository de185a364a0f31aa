package vm

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/godbus/dbus/v5"
)

func (m *machine) write(path dbus.ObjectPath, value []byte, kind string) {
	m.t.Helper()
	m.Call(path, char1+".WriteValue", value, map[string]dbus.Variant{"type": dbus.MakeVariant(kind)})
}

func (m *machine) writes() {
	m.write(on(0, "/service0018/char001c"), []byte{1, 2, 3}, "request")
	m.wrote(29, []byte{1, 2, 3})
	long := bytes.Repeat([]byte{0xa5, 1, 2}, 140)
	m.write(on(0, "/service0018/char002a"), long, "request")
	m.wrote(43, long)
	for i := range 20 {
		m.write(on(0, "/service0018/char001e"), []byte{byte(i)}, "command")
	}
	m.wrote(31, []byte{19})
	var order []byte
	writes, _ := m.tell(`{"op":"status"}`)["writes"].([]any)
	for _, w := range writes {
		if w, _ := w.(map[string]any); w["handle"] == float64(31) {
			var b byte
			if _, err := fmt.Sscanf(w["value"].(string), "%02x", &b); err != nil {
				m.t.Fatal(err)
			}
			order = append(order, b)
		}
	}
	if len(order) != 20 || !slices.IsSorted(order) {
		m.t.Errorf("the write commands came as %v", order)
	}
}

// descriptors: bluetoothd reads and writes descriptors, and gets the errors of the peripheral.
func (m *machine) descriptors() {
	var value []byte
	if err := m.Call(on(0, "/service0018/char002f/desc0031"), "org.bluez.GattDescriptor1.ReadValue", map[string]dbus.Variant{}).Store(&value); err != nil || string(value) != "desc" {
		m.t.Errorf("the descriptor is %q, %v", value, err)
	}
	m.Call(on(0, "/service0018/char002f/desc0032"), "org.bluez.GattDescriptor1.WriteValue", []byte{7, 8}, map[string]dbus.Variant{})
	m.wrote(50, []byte{7, 8})
	for path, want := range map[string]string{
		"/service003a/char0041": "Operation failed with ATT error: 0x80",
		"/service003a/char0043": "Read not permitted",
		"/service003a/char004c": "Operation failed with ATT error: 0x0e",
		"/service003a/char003f": "Operation Not Authorized",
	} {
		err := m.Try(on(0, path), char1+".ReadValue", map[string]dbus.Variant{}).Err
		if err == nil || err.Error() != want {
			m.t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// values: notifications and indications arrive in order.
func (m *machine) values() {
	for _, c := range []struct {
		path     string
		handle   int
		indicate bool
	}{{"/service0018/char0024", 37, false}, {"/service0018/char0027", 40, true}} {
		path := on(0, c.path)
		changes := make(chan *dbus.Signal, 64)
		match := []dbus.MatchOption{dbus.WithMatchObjectPath(path), dbus.WithMatchMember("PropertiesChanged")}
		if err := m.Conn.AddMatchSignal(match...); err != nil {
			m.t.Fatal(err)
		}
		m.Conn.Signal(changes)
		m.Call(path, char1+".StartNotify")
		for i := range 10 {
			m.tell(fmt.Sprintf(`{"op":"notify","handle":%d,"value":"%02x","indicate":%v}`, c.handle, i, c.indicate))
		}
		m.shows(path, []byte{9})
		m.Conn.RemoveSignal(changes)
		if err := m.Conn.RemoveMatchSignal(match...); err != nil {
			m.t.Fatal(err)
		}
		close(changes)
		var got []byte
		for s := range changes {
			if s.Path != path || len(s.Body) < 2 {
				continue
			}
			if props, _ := s.Body[1].(map[string]dbus.Variant); props["Value"].Value() != nil {
				got = append(got, props["Value"].Value().([]byte)...)
			}
		}
		if !bytes.Equal(got, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			m.t.Errorf("of %d came % x", c.handle, got)
		}
		m.Call(path, char1+".StopNotify")
		m.Eventually("nothing is subscribed to", func() bool {
			subscribed, _ := m.tell(`{"op":"status"}`)["subscriptions"].([]any)
			return !slices.Contains(subscribed, any(float64(c.handle)))
		})
	}
}

// shows waits until a characteristic shows a value.
func (m *machine) shows(path dbus.ObjectPath, want []byte) {
	m.t.Helper()
	m.Eventually(fmt.Sprintf("%s shows % x", path, want), func() bool {
		v, _ := m.Get(path, char1, "Value").([]byte)
		return bytes.Equal(v, want)
	})
}
