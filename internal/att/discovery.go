package att

import (
	"encoding/binary"

	"bluez-esphome/internal/ble"
)

// span checks the range that a request begins with; where it is none it answers.
func (s *Server) span(req *request, p []byte) (start, end uint16, ok bool) {
	start, end = le(p), le(p[2:])
	if start == 0 || start > end {
		s.refuse(req, start, ble.ATTInvalidHandle)
		return 0, 0, false
	}
	return start, end, true
}

// findInformation lists types, those of one length only (Bluetooth Core, Vol 3 Part F, 3.4.3.1).
func (s *Server) findInformation(req *request, p []byte) {
	start, end, ok := s.span(req, p)
	if !ok {
		return
	}
	out := []byte{ble.ATTOpFindInformation + 1, 0}
	for _, a := range s.table.within(start, end) {
		u := wireUUID(a.uuid)
		format := byte(1)
		if len(u) == 16 {
			format = 2
		}
		if out[1] != 0 && out[1] != format || len(out)+2+len(u) > s.mtu {
			break
		}
		out[1] = format
		out = append(binary.LittleEndian.AppendUint16(out, a.handle), u...)
	}
	s.found(req, start, out, 2)
}

// found answers with a list, or that nothing was found if it is no longer than its header.
func (s *Server) found(req *request, start uint16, list []byte, header int) {
	if len(list) == header {
		s.refuse(req, start, errNotFound)
		return
	}
	s.answer(req, list)
}

// findByTypeValue finds services by UUID (Bluetooth Core, Vol 3 Part G, 4.4.2).
func (s *Server) findByTypeValue(req *request, p []byte) {
	start, end, ok := s.span(req, p)
	if !ok {
		return
	}
	want, isUUID := uuidOf(p[6:])
	out := []byte{ble.ATTOpFindByTypeValue + 1}
	if ble.UUID16(le(p[4:])) == typePrimary && isUUID {
		for _, a := range s.table.within(start, end) {
			if a.uuid != typePrimary {
				continue
			}
			if u, _ := uuidOf(a.static); u != want {
				continue
			}
			if len(out)+4 > s.mtu {
				break
			}
			out = binary.LittleEndian.AppendUint16(out, a.handle)
			out = binary.LittleEndian.AppendUint16(out, a.end)
		}
	}
	s.found(req, start, out, 1)
}

// maxEntry is the longest entry of a list that has the length of its entries in one byte.
const maxEntry = 255

// readByGroupType lists services. Of secondary ones no proxy tells.
func (s *Server) readByGroupType(req *request, p []byte) {
	start, end, ok := s.span(req, p)
	if !ok {
		return
	}
	group, _ := uuidOf(p[4:])
	if group != typePrimary && group != typeSecondary {
		s.refuse(req, start, errUnsupportedGroup)
		return
	}
	out := []byte{ble.ATTOpReadByGroupType + 1, 0}
	for _, a := range s.table.within(start, end) {
		if a.uuid != group {
			continue
		}
		size := byte(4 + len(a.static))
		if out[1] != 0 && out[1] != size || len(out)+int(size) > s.mtu {
			break
		}
		out[1] = size
		out = binary.LittleEndian.AppendUint16(out, a.handle)
		out = binary.LittleEndian.AppendUint16(out, a.end)
		out = append(out, a.static...)
	}
	s.found(req, start, out, 2)
}

// readByType lists what the table has, declarations above all; of other types it reads the first.
func (s *Server) readByType(req *request, p []byte) {
	start, end, ok := s.span(req, p)
	if !ok {
		return
	}
	want, _ := uuidOf(p[4:])
	out := []byte{ble.ATTOpReadByType + 1, 0}
	for _, a := range s.table.within(start, end) {
		if a.uuid != want {
			continue
		}
		if !a.known() {
			if out[1] == 0 {
				s.readFirst(req, a)
				return
			}
			break
		}
		size := byte(2 + len(a.static))
		if out[1] != 0 && out[1] != size || len(out)+int(size) > s.mtu {
			break
		}
		out[1] = size
		out = append(binary.LittleEndian.AppendUint16(out, a.handle), a.static...)
		if a.value != 0 {
			s.declared(a.value)
		}
	}
	s.found(req, start, out, 2)
}

// readFirst answers readByType with one value of the peripheral. The host says which type it means, so that it cannot
// mean another characteristic.
func (s *Server) readFirst(req *request, a attribute) {
	s.fetch(req, &a, func(value []byte) {
		size := min(2+len(value), s.mtu-2, maxEntry)
		s.keepLong(a.handle, value, size-2)
		out := binary.LittleEndian.AppendUint16([]byte{ble.ATTOpReadByType + 1, byte(size)}, a.handle)
		s.answer(req, append(out, value[:size-2]...))
	})
}
