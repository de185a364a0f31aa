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
		case ADUUID16Partial, ADUUID16:
			s.HasServiceUUIDs = s.HasServiceUUIDs || len(ad.Data) >= 2
		case ADUUID32Partial, ADUUID32:
			s.HasServiceUUIDs = s.HasServiceUUIDs || len(ad.Data) >= 4
		case ADUUID128Partial, ADUUID128:
			s.HasServiceUUIDs = s.HasServiceUUIDs || len(ad.Data) >= 16
		case ADName:
			s.Name = ad.Data
		case ADNameShort:
			if short == nil {
				short = ad.Data
			}
		case ADBroadcastName:
			broadcast = ad.Data
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
