package bluezshim

import "bluez-esphome/internal/dbusobj"

// A battery is what the Battery service last said.
type battery struct{ percentage uint8 }

// batterySource is Battery1.Source (bluetoothd 5.87).
const batterySource = "GATT Battery Service"

// newBatteryInterface makes org.bluez.Battery1: there while the device is connected and its level, once read, can
// be followed by notification (bluetoothd 5.87).
func newBatteryInterface() *dbusobj.Interface {
	return &dbusobj.Interface{
		Name: "org.bluez.Battery1",
		Properties: []dbusobj.Property{
			{Name: "Percentage", Type: "y", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) {
				if b := ofDevice(o).peer.battery; b != nil {
					e.Byte(b.percentage)
					return
				}
				e.Byte(0)
			}},
			{Name: "Source", Type: "s", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.String(batterySource) }},
		},
	}
}

// setBattery takes a level; values that are not a percentage are ignored.
func (p *peer) setBattery(value []byte) {
	if len(value) == 0 || value[0] > 100 {
		return
	}
	level := value[0]
	if p.battery == nil {
		p.battery = &battery{level}
		for _, d := range p.devices {
			d.obj.AddInterface(p.shim.ifaces.battery)
		}
		return
	}
	if p.battery.percentage != level {
		p.battery.percentage = level
		for _, d := range p.devices {
			d.obj.Changed(p.shim.ifaces.battery, "Percentage")
		}
	}
}

func (p *peer) removeBattery() {
	if p.battery == nil {
		return
	}
	for _, d := range p.devices {
		d.obj.RemoveInterface(p.shim.ifaces.battery)
	}
	p.battery = nil
	p.shim.conn.Flush()
}
