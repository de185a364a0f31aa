package dbusobj

import (
	"fmt"
	"testing"

	"github.com/godbus/dbus/v5"
)

// ifaceDevice has about as many properties as a Bluetooth device shows.
func ifaceDevice() *Interface {
	i := &Interface{Name: "org.example.Device1"}
	for n := range 16 {
		i.Properties = append(i.Properties, Property{Name: fmt.Sprintf("Property%d", n), Type: "s",
			Get: func(_ *Object, e *Encoder) { e.String("00:AA:01:01:00:01") }})
	}
	i.Properties = append(i.Properties,
		Property{Name: "RSSI", Type: "n", Get: func(_ *Object, e *Encoder) { e.Int16(-60) }},
		Property{Name: "ManufacturerData", Type: "a{qv}", Get: func(_ *Object, e *Encoder) {
			e.Array("{qv}", func() {
				e.Entry(func() { e.Uint16(76); e.Variant("ay", func() { e.Bytes(make([]byte, 20)) }) })
			})
		}},
		Property{Name: "UUIDs", Type: "as", Get: func(_ *Object, e *Encoder) {
			e.Strings([]string{"0000180f-0000-1000-8000-00805f9b34fb", "0000180a-0000-1000-8000-00805f9b34fb"})
		}})
	return i
}

func addDevices(s *server, n int) *Interface {
	i := ifaceDevice()
	s.do(func() {
		for k := range n {
			s.Add(dbus.ObjectPath(fmt.Sprintf("/org/bluez/hci0/dev_%04x", k)), &thing{}, i)
		}
	})
	return i
}

// 1,000 devices come in one answer; TestAllocations says what it may cost.
func TestManagedObjectsOfMany(t *testing.T) {
	s := serve(t)
	addDevices(s, 1000)
	c := client(t, s.addr)
	var objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant
	if err := c.Object(testName, "/").Call(objectManagerName+".GetManagedObjects", 0).Store(&objects); err != nil {
		t.Fatal(err)
	}
	if len(objects) != 1000 || len(objects["/org/bluez/hci0/dev_0007"]["org.example.Device1"]) != 19 {
		t.Errorf("%d objects", len(objects))
	}
}

func BenchmarkManagedObjects1000(b *testing.B) {
	s := serve(b)
	addDevices(s, 1000)
	b.ReportAllocs()
	for b.Loop() {
		s.do(func() {
			_ = s.encode("", "a{oa{sa{sv}}}", func(e *Encoder) {
				e.take("a{oa{sa{sv}}}")
				a := e.begin(8)
				s.tree.root.manage(e)
				e.end(a)
			}, func([]byte, []int) bool { return false })
		})
	}
}

func BenchmarkChanged(b *testing.B) {
	s := serve(b)
	i := addDevices(s, 16)
	b.ReportAllocs()
	for b.Loop() {
		s.do(func() {
			for _, o := range s.Children("/org/bluez/hci0") {
				o.Changed(i, "RSSI", "ManufacturerData")
			}
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	s := serve(b)
	i := ifaceDevice()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		s.do(func() {
			o := s.Add(dbus.ObjectPath(fmt.Sprintf("/dev_%d", n)), nil, i)
			s.Flush()
			s.Remove(o)
			n++
		})
	}
}

func BenchmarkPipelinedCalls(b *testing.B) {
	s := serve(b)
	s.do(func() { s.Add("/o", &thing{}, ifaceMain()) })
	r := newRaw(b, s.addr)
	body, _, _ := Marshal("s", func(e *Encoder) { e.String("x") })
	b.ReportAllocs()
	for b.Loop() {
		var buf []byte
		for range 100 {
			buf = r.append(buf, call("Echo", "s"), body, 0)
		}
		if _, err := r.sock.Write(buf); err != nil {
			b.Fatal(err)
		}
		for range 100 {
			r.next()
		}
	}
}
