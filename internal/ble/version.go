package ble

import (
	"cmp"
	"strconv"
	"strings"
)

// Version is an ESPHome version such as 2026.10.0, as numbers that compare. The zero Version is one that cannot be
// read.
type Version struct{ Year, Month, Patch int }

// ParseVersion reads an ESPHome version. Anything behind the numbers, as in 2026.8.0-dev, does not count. It reports
// false, and gives the zero Version, for what is not YEAR.MONTH with a month of 1…12.
func ParseVersion(s string) (Version, bool) {
	parts := strings.SplitN(s, ".", 3)
	if len(parts) < 2 {
		return Version{}, false
	}
	var v Version
	var ok1, ok2 bool
	v.Year, ok1 = leadingNumber(parts[0])
	v.Month, ok2 = leadingNumber(parts[1])
	if !ok1 || !ok2 || v.Month < 1 || v.Month > 12 {
		return Version{}, false
	}
	if len(parts) == 3 {
		v.Patch, _ = leadingNumber(parts[2])
	}
	return v, true
}

func leadingNumber(s string) (int, bool) {
	end := 0
	for end < len(s) && end < 6 && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(s[:end])
	return n, err == nil
}

// Compare is negative if v is older than w, positive if it is newer.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Year, w.Year), cmp.Compare(v.Month, w.Month), cmp.Compare(v.Patch, w.Patch))
}

// AtLeast reports whether v is the release YEAR.MONTH or a later one.
func (v Version) AtLeast(year, month int) bool {
	return v.Compare(Version{Year: year, Month: month}) >= 0
}

// TellsHost reports whether a proxy with ESPHome v tells if another host has it. Up to 2026.6 it refuses a second one. From
// 2026.8 on it can be asked for a connection slot, if it makes connections. 2026.7 tells nothing.
func (v Version) TellsHost(connects bool) bool {
	return !v.AtLeast(2026, 7) || v.AtLeast(2026, 8) && connects
}
