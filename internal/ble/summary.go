package ble

// Summary is what [Summarize] finds in a payload; its fields are those of [Advertisement].
type Summary struct {
	Flags           uint8
	HasFlags        bool
	HasServiceUUIDs bool
	Name            []byte // part of the payload
}

// Summarize reads of one advertisement what most programs ask for first, as ParseAdvertisement does but without
// allocating.
func Summarize(raw []byte) Summary {
	var s Summary
	var short, broadcast []byte
	for ad := range Structures(raw) {
		switch ad.Type {
		case ADFlags:
			s.Flags, s.HasFlags = ad.Data[0], true
		case ADName:
			s.Name = ad.Data
		case ADNameShort:
			if short == nil {
				short = ad.Data
			}
		case ADBroadcastName:
			broadcast = ad.Data
		default:
			if size, data := UUIDsOf(ad.Type); size > 0 && !data && len(ad.Data) >= size {
				s.HasServiceUUIDs = true
			}
		}
	}
	if s.Name == nil {
		s.Name = short
	}
	if s.Name == nil {
		s.Name = broadcast
	}
	return s
}
