package apiwire

import "strings"

// macDigits is how many hexadecimal digits a MAC address has.
const macDigits = 12

// MAC gives a device's MAC address as people read it, AA:BB:CC:DD:EE:FF: ESPHome sends twelve digits without separators
// in the Noise hello and by multicast DNS, and colons in the device info. Anything else comes back cleaned and cut, as
// by Printable.
func MAC(s string) string {
	if len(s) != macDigits || strings.Trim(s, "0123456789abcdefABCDEF") != "" {
		return strings.ToUpper(Printable(s, maxShownMAC))
	}
	parts := make([]string, 0, macDigits/2)
	for i := 0; i < macDigits; i += 2 {
		parts = append(parts, s[i:i+2])
	}
	return strings.ToUpper(strings.Join(parts, ":"))
}
