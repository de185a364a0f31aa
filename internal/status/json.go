package status

import (
	"encoding/json"
	"time"
)

// The JSON of a Report is promised: keys are only ever added, a time is RFC 3339 in UTC, and what is not known is null. See
// docs/operations.md.

// A Moment is a time in seconds since 1970, 0 unknown or never. Its JSON is RFC 3339, or null.
type Moment uint64

// MarshalJSON implements json.Marshaler.
func (m Moment) MarshalJSON() ([]byte, error) {
	if m == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(time.Unix(int64(m), 0).UTC().Format(time.RFC3339))
}

// known is nil for the zero value, which stands for what is not known.
func known[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// MarshalJSON implements json.Marshaler.
func (p Proxy) MarshalJSON() ([]byte, error) {
	type plain Proxy // without this method
	out := struct {
		plain
		ESPHomeVersion   *string `json:"esphome_version"`
		BluetoothAddress *string `json:"bluetooth_address"`
		ScanMode         *string `json:"scan_mode"`
		SlotLimit        *uint16 `json:"slot_limit"`
		SlotFree         *uint16 `json:"slot_free"`
	}{plain: plain(p), ESPHomeVersion: known(p.ESPHomeVersion), BluetoothAddress: known(p.BluetoothAddress), ScanMode: known(p.ScanMode)}
	if p.SlotLimit > 0 {
		out.SlotLimit, out.SlotFree = &p.SlotLimit, &p.SlotFree
	}
	return json.Marshal(out)
}

// MarshalJSON implements json.Marshaler.
func (s Source) MarshalJSON() ([]byte, error) {
	type plain Source
	return json.Marshal(struct {
		plain
		RSSI       *int16  `json:"rssi"`
		IntervalMs *uint32 `json:"interval_ms"`
	}{plain(s), known(s.RSSI), known(s.IntervalMs)})
}
