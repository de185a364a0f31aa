package status

import (
	"encoding/json"
	"time"
)

// The JSON of a Report is a stable interface: each key is always there, keys are only ever added, a time is RFC 3339 in
// UTC, and a value that is unknown or absent is null. See docs/operations.md.

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
		LastError        *string `json:"last_error"`
		LastLinkError    *string `json:"last_link_error"`
		ESPHomeVersion   *string `json:"esphome_version"`
		BluetoothAddress *string `json:"bluetooth_address"`
		ScanMode         *string `json:"scan_mode"`
		SlotLimit        *uint16 `json:"slot_limit"`
		SlotFree         *uint16 `json:"slot_free"`
		Note             *string `json:"note"`
	}{
		plain: plain(p), LastError: known(p.LastError), LastLinkError: known(p.LastLinkError), ESPHomeVersion: known(p.ESPHomeVersion),
		BluetoothAddress: known(p.BluetoothAddress), ScanMode: known(p.ScanMode), Note: known(p.Note),
	}
	if p.SlotLimit > 0 {
		out.SlotLimit, out.SlotFree = &p.SlotLimit, &p.SlotFree
	}
	return json.Marshal(out)
}

// MarshalJSON implements json.Marshaler.
func (a Adapter) MarshalJSON() ([]byte, error) {
	type plain Adapter
	return json.Marshal(struct {
		plain
		Proxy *string `json:"proxy"`
	}{plain(a), known(a.Proxy)})
}

// MarshalJSON implements json.Marshaler.
func (l Link) MarshalJSON() ([]byte, error) {
	type plain Link
	return json.Marshal(struct {
		plain
		Name *string `json:"name"`
	}{plain(l), known(l.Name)})
}

// MarshalJSON implements json.Marshaler.
func (d Device) MarshalJSON() ([]byte, error) {
	type plain Device
	return json.Marshal(struct {
		plain
		Name      *string `json:"name"`
		LastError *string `json:"last_error"`
	}{plain(d), known(d.Name), known(d.LastError)})
}

// MarshalJSON implements json.Marshaler.
func (h Heard) MarshalJSON() ([]byte, error) {
	type plain Heard
	return json.Marshal(struct {
		plain
		AddressType *string `json:"address_type"`
		Name        *string `json:"name"`
		LastError   *string `json:"last_error"`
	}{plain(h), known(h.AddressType), known(h.Name), known(h.LastError)})
}

// MarshalJSON implements json.Marshaler. The result is null while the call is under way.
func (c Connect) MarshalJSON() ([]byte, error) {
	type plain Connect
	return json.Marshal(struct {
		plain
		Name   *string `json:"name"`
		Via    *string `json:"via"`
		Result *string `json:"result"`
		Error  *string `json:"error"`
		Link   *uint64 `json:"link"`
		Proxy  *string `json:"proxy"`
		Why    *string `json:"why"`
	}{plain(c), known(c.Name), known(c.Via), known(c.Result), known(c.Error), known(c.Link), known(c.Proxy), known(c.Why)})
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

// MarshalJSON implements json.Marshaler.
func (s Shared) MarshalJSON() ([]byte, error) {
	type plain Shared
	return json.Marshal(struct {
		plain
		Proxy   *string `json:"proxy"`
		Address *string `json:"address"`
	}{plain(s), known(s.Proxy), known(s.Address)})
}

// MarshalJSON implements json.Marshaler.
func (h Host) MarshalJSON() ([]byte, error) {
	type plain Host
	return json.Marshal(struct {
		plain
		Has     *string `json:"has"`
		Refused *string `json:"refused"`
	}{plain(h), known(h.Has), known(h.Refused)})
}

// MarshalJSON implements json.Marshaler.
func (c Configuration) MarshalJSON() ([]byte, error) {
	type plain Configuration
	return json.Marshal(struct {
		plain
		Problem *string `json:"problem"`
	}{plain(c), known(c.Problem)})
}

// MarshalJSON implements json.Marshaler. There is no host where nobody uses the controller.
func (c Controller) MarshalJSON() ([]byte, error) {
	type plain Controller
	return json.Marshal(struct {
		plain
		Host *string `json:"host"`
	}{plain(c), known(c.Host)})
}
