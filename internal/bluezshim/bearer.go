package bluezshim

import "bluez-esphome/internal/dbusobj"

// newBearerInterface makes org.bluez.Bearer.LE1 as bluetoothd 5.87 shows it without experimental mode:
// only its signal.
func newBearerInterface() *dbusobj.Interface {
	return &dbusobj.Interface{
		Name:    "org.bluez.Bearer.LE1",
		Signals: []dbusobj.Signal{disconnectedSignal},
	}
}
