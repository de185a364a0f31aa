package tests

import (
	"testing"

	"bluez-esphome/tests/harness"
)

// TestBluetoothctl types into Debian's bluetoothctl what a person would, against the demo.
func TestBluetoothctl(t *testing.T) {
	t.Parallel()
	bus := harness.Demo(t)
	c := harness.StartTerminal(t, bus.Env(), "bluetoothctl")
	say := func(line string, patterns ...string) {
		t.Helper()
		c.Send(t, line)
		for _, p := range patterns {
			c.Out.Expect(t, p)
		}
	}
	c.Out.Expect(t, `Agent registered`)
	say("show", `Controller [0-9A-F:]{17} \(public\)`, `Powered: yes`, `Discovering: no`, `Roles: central`)
	say("scan le", `Discovery started`, `\[NEW\] Device `+pulse+` Pulse HR-1|\[CHG\] Device `+pulse+` Name: Pulse HR-1`)
	say("devices", `Device `+pulse+` Pulse HR-1`)
	say("info "+pulse, `Device `+pulse+` \(random\)`, `Name: Pulse HR-1`, `Appearance: 0x0341`, `Connected: no`,
		`UUID: Heart Rate`, `ManufacturerData Key: 0xffff|ManufacturerData.Key: 0xffff`, `RSSI: `)
	say("scan off", `Discovery stopped`)
	say("connect "+pulse, `Attempting to connect`, `Connected: yes`, `Connection successful`, `ServicesResolved: yes`)
	say("info "+pulse, `Device `+pulse+` \(random\)`, `Connected: yes`, `UUID: Vendor specific\s+\(b1e50001-`)
	say("gatt.list-attributes "+pulse, `Primary Service`, pulsePath+`/service[0-9a-f]{4}/char[0-9a-f]{4}`, greetingUUID, counterUUID)
	say("gatt.select-attribute "+greetingUUID, `\[Pulse HR-1:/service[0-9a-f]{4}/char[0-9a-f]{4}\]#`)
	say("gatt.read", `Attempting to read`, `68 65 6c 6c 6f\s+hello`)
	say(`gatt.write "0x77 0x6f 0x72 0x6c 0x64"`, `Attempting to write`)
	say("gatt.read", `Attempting to read`, `77 6f 72 6c 64\s+world`)
	say("gatt.select-attribute "+counterUUID, `/char[0-9a-f]{4}\]#`)
	value := `\[CHG\] Attribute ` + pulsePath + `/service[0-9a-f]{4}/char[0-9a-f]{4} Value:`
	say("gatt.notify on", `Notify started`, value, value, value)
	say("gatt.notify off", `Notify stopped`)
	say("disconnect "+pulse, `Connected: no`, `Successful disconnected`)
	say("info "+pulse, `Device `+pulse+` \(random\)`, `Connected: no`)
	c.Send(t, "quit")
	if status := c.Wait(t, harness.Limit); status != 0 {
		t.Errorf("bluetoothctl exited with %d", status)
	}
}
