package bluezshim

import "unicode/utf8"

// maxAlias is the longest name of a controller (Bluetooth Core, Vol 4 Part E, 7.3.11); bluetoothd cuts what is longer.
const maxAlias = 248

// cutAlias cuts an alias that a client sets, between two characters.
func cutAlias(s string) string {
	if len(s) <= maxAlias {
		return s
	}
	n := maxAlias
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// icon derives Device1.Icon from the appearance category and its subcategory
// (bluetoothd 5.87); "" where there is none.
func icon(appearance uint16) string {
	switch appearance >> 6 {
	case 0x00:
		return "unknown"
	case 0x01:
		return "phone"
	case 0x02:
		return "computer"
	case 0x05:
		return "video-display"
	case 0x0a:
		return "multimedia-player"
	case 0x0b:
		return "scanner"
	case 0x0f:
		switch appearance & 0x3f {
		case 1:
			return "input-keyboard"
		case 2:
			return "input-mouse"
		case 3, 4:
			return "input-gaming"
		case 5:
			return "input-tablet"
		case 8:
			return "scanner"
		}
	}
	return ""
}
