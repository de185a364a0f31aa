package proxysim

import (
	"slices"
	"testing"
	"time"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// TestNotifyEarly: a value that is notified as soon as it is enabled comes before the answer to the CCCD's write.
func TestNotifyEarly(t *testing.T) {
	linked(t, ProxyConfig{}, func(w *world, c *peer) {
		if err := w.air.NotifyEarly("main", 37, []byte{7}); err != nil {
			t.Fatal(err)
		}
		if err := w.air.NotifyEarly("main", 26, []byte{7}); err == nil {
			t.Error("a characteristic without a configuration was taken")
		}
		c.send(&apipb.BluetoothGATTNotifyRequest{Address: uint64(goldenMain), Handle: 37, Enable: true})
		expect[*apipb.BluetoothGATTNotifyResponse](c)
		c.send(&apipb.BluetoothGATTWriteDescriptorRequest{Address: uint64(goldenMain), Handle: 38, Data: []byte{1, 0}})
		_, value := expectAt[*apipb.BluetoothGATTNotifyDataResponse](c)
		_, answer := expectAt[*apipb.BluetoothGATTWriteResponse](c)
		if answer.Before(value) {
			t.Error("the answer came first")
		}
	})
}

// TestSetGATT: a table is another one at once; the next discovery lists it, an old handle means what is there now, and
// a central that enabled Service Changed is told.
func TestSetGATT(t *testing.T) {
	linked(t, ProxyConfig{}, func(w *world, c *peer) {
		spec := GATTSpec{Services: []ServiceSpec{{UUID: ble.UUID16(0xff00), Handle: 24, Characteristics: []CharSpec{
			{UUID: ble.UUID16(0xff01), Handle: 25, ValueHandle: 26, Properties: []string{"read"}, Value: HexBytes{0x5a}}}}}}
		if err := w.air.SetGATT("main", spec, true); err != nil {
			t.Fatal(err)
		}
		if got := c.read(goldenMain, 26); got != "5a" {
			t.Errorf("handle 26 reads %s", got)
		}
		if got := c.read(goldenMain, 3); got != "error 1" {
			t.Errorf("handle 3 reads %s", got)
		}
		time.Sleep(time.Second)
		if err := w.air.SetGATT("main", GATTSpec{Services: []ServiceSpec{{UUID: ble.UUID16(1), Handle: 9}, {UUID: ble.UUID16(2), Handle: 3}}}, false); err == nil {
			t.Error("a table with falling handles was taken")
		}
		if err := w.air.Reset("main"); err != nil {
			t.Fatal(err)
		}
		if got := c.read(goldenMain, 26); got == "5a" || got == "error 1" {
			t.Errorf("after a reset handle 26 reads %s", got)
		}
	})
}

// TestSetGATTTells: Service Changed is indicated where it was enabled.
func TestSetGATTTells(t *testing.T) {
	specs := goldenSpecs(t)
	changed, cccd := uint16(0), uint16(0)
	for _, s := range specs {
		if s.ID != "main" {
			continue
		}
		table, err := newAttributeTable(s.GATT)
		if err != nil {
			t.Fatal(err)
		}
		changed = table.valueHandle(ble.UUIDServiceChanged)
		i := slices.IndexFunc(table.cccds, func(a *attribute) bool { return a.cccdOf == changed })
		if changed == 0 || i < 0 {
			t.Fatal("the golden peripheral has no Service Changed")
		}
		cccd = table.cccds[i].handle
	}
	linked(t, ProxyConfig{}, func(w *world, c *peer) {
		c.send(&apipb.BluetoothGATTNotifyRequest{Address: uint64(goldenMain), Handle: uint32(changed), Enable: true})
		expect[*apipb.BluetoothGATTNotifyResponse](c)
		if got := c.writeDescriptor(goldenMain, uint32(cccd), []byte{2, 0}); got != "written" {
			t.Fatal(got)
		}
		if err := w.air.SetGATT("main", GATTSpec{}, true); err != nil {
			t.Fatal(err)
		}
		if m := expect[*apipb.BluetoothGATTNotifyDataResponse](c); m.GetHandle() != uint32(changed) || !slices.Equal(m.GetData(), []byte{1, 0, 255, 255}) {
			t.Errorf("told %v", m)
		}
	})
}
