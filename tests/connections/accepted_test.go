package connections

import (
	"fmt"
	"os"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

// TestAcceptedBeforeTheEnd (D4): what programs wrote to descriptors of AcquireWrite, and by WriteValue without response, is on the air
// whatever then ends the link, with 1 and with 4 descriptors.
func TestAcceptedBeforeTheEnd(t *testing.T) {
	t.Parallel()
	const (
		each = 5
		// The daemon keeps a link no longer than this after its end was asked for: 1 s at its own stop, else 2 s. If a
		// busy machine needs longer, the rest is lost, as with bluetoothd.
		longest = time.Second
	)
	path := devicePath(sensor(0))
	for _, end := range []struct {
		name string
		do   func(w *world, files []*os.File)
	}{
		{"Disconnect", func(w *world, _ []*os.File) { w.Call(path, deviceIface+".Disconnect") }},
		{"Disconnect by another program", func(w *world, _ []*os.File) { w.connect().Call(path, deviceIface+".Disconnect") }},
		{"closed, then Disconnect", func(w *world, files []*os.File) {
			for _, f := range files {
				_ = f.Close()
			}
			w.Call(path, deviceIface+".Disconnect")
		}},
		{"RemoveDevice", func(w *world, _ []*os.File) { w.Call(adapterPath, adapterIface+".RemoveDevice", path) }},
		{"Blocked", func(w *world, _ []*os.File) {
			w.Call(path, properties+".Set", deviceIface, "Blocked", dbus.MakeVariant(true))
		}},
		{"Powered", func(w *world, _ []*os.File) {
			w.Call(adapterPath, properties+".Set", adapterIface, "Powered", dbus.MakeVariant(false))
		}},
		{"the daemon ends", func(w *world, _ []*os.File) { w.stop() }},
	} {
		for _, n := range harness.ByNight([]int{4}, []int{1, 4}) {
			t.Run(fmt.Sprint(end.name, " ", n), func(t *testing.T) {
				t.Parallel()
				d := sensor(0, "north")
				chars := &d.GATT.Services[1].Characteristics
				var uuids []ble.UUID
				for i := range n {
					uuids = append(uuids, ble.UUID16(0xff10+uint16(i)))
					*chars = append(*chars, proxysim.CharSpec{UUID: uuids[i], Properties: []string{"write-without-response"}})
				}
				w := newWorld(t, setup{devices: []proxysim.DeviceSpec{d}, proxies: []proxysim.ProxyConfig{{Name: "north"}}})
				w.link(path)
				var files []*os.File
				for _, u := range uuids {
					var fd dbus.UnixFD
					var mtu uint16
					if err := w.Call(w.char(path, u), charIface+".AcquireWrite", map[string]dbus.Variant{}).Store(&fd, &mtu); err != nil {
						t.Fatal(err)
					}
					f := os.NewFile(uintptr(fd), u.String())
					defer f.Close()
					files = append(files, f)
				}
				want := 0
				for i := range each {
					for k, f := range files {
						if _, err := f.Write([]byte{byte(k), byte(i)}); err != nil {
							t.Fatal(err)
						}
						want++
					}
					w.Call(w.char(path, echo), charIface+".WriteValue", []byte{0xff, byte(i)}, map[string]dbus.Variant{"type": dbus.MakeVariant("command")})
					want++
				}
				begun := time.Now()
				end.do(w, files)
				var writes []proxysim.Write
				poll(t, "all of them arrived", func() bool {
					st, err := w.sim.Air().Status(d.ID)
					if err != nil {
						t.Fatal(err)
					}
					writes = st.Writes
					return len(writes) >= want || st.Connections == 0
				})
				next := map[byte]byte{} // of each writer, in its order
				arrived := 0
				for _, wr := range writes {
					if len(wr.Value) != 2 {
						continue
					}
					if wr.Value[1] != next[wr.Value[0]] {
						t.Errorf("writer %d: packet %d came where %d was to", wr.Value[0], wr.Value[1], next[wr.Value[0]])
					}
					next[wr.Value[0]]++
					arrived++
				}
				lasted := time.Since(begun)
				switch {
				case arrived == want:
				case lasted >= longest:
					t.Logf("%d of %d arrived in %v, which is as long as a link may last", arrived, want, lasted)
				default:
					t.Errorf("%d of %d arrived within %v", arrived, want, lasted)
				}
			})
		}
	}
}
