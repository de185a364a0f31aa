package apiconn

import "bluez-esphome/internal/ble"

// bluetoothMAC derives the adapter's address of a proxy that does not tell it. Before ESPHome 2025.5 no proxy did, and
// all were ESP32s, whose Bluetooth address is that of Wi-Fi with two added to the last octet, without carry (ESP-IDF,
// "MAC Address Allocation"). For other devices it is the MAC of the network.
func bluetoothMAC(mac, version string) string {
	a, err := ble.ParseAddress(mac)
	if err != nil || versionAtLeast(version, 2025, 5) {
		return mac
	}
	return espBluetooth(a).String()
}

func espBluetooth(wifi ble.Address) ble.Address { return wifi&^0xff | (wifi+2)&0xff }
