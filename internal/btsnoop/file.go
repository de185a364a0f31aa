package btsnoop

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"bluez-esphome/internal/h4"
)

// Datalink types of a file.
const (
	dataHCI     = 1001 // packets without their H4 type, which the flags tell
	dataH4      = 1002 // packets with it
	dataMonitor = 2001 // the Linux monitor's: an opcode and the index of an adapter in the flags
)

const (
	headerSize = 16
	recordSize = 24
	// maxData bounds a record's data; nothing that is written here is longer than an ACL packet with one ATT PDU.
	maxData = 65536
)

// magic begins each file.
var magic = []byte("btsnoop\x00")

// Opcode says what a record is (Linux, the monitor channel of HCI sockets).
type Opcode uint16

// Opcodes. TX is from the host to the controller, RX the other way.
const (
	NewIndex  Opcode = 0
	DelIndex  Opcode = 1
	Command   Opcode = 2
	Event     Opcode = 3
	ACLTX     Opcode = 4
	ACLRX     Opcode = 5
	OpenIndex Opcode = 8
	IndexInfo Opcode = 10
	Note      Opcode = 12
)

// Record is one packet, or one note, of a capture.
type Record struct {
	Time  time.Time // to the microsecond
	Index uint16    // of the adapter
	Op    Opcode
	Drops uint32 // records that were lost before it, since the beginning
	Data  []byte // without an H4 type
}

// epoch is 1970 in microseconds since midnight of January 1st in the year 0, by which times are counted.
const epoch = 0x00dcddb30f2f8000

// Header begins a file.
func Header() []byte {
	b := binary.BigEndian.AppendUint32(append([]byte(nil), magic...), 1)
	return binary.BigEndian.AppendUint32(b, dataMonitor)
}

// Append appends a record.
func Append(b []byte, r Record) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Data)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Data)))
	b = binary.BigEndian.AppendUint32(b, uint32(r.Index)<<16|uint32(r.Op))
	b = binary.BigEndian.AppendUint32(b, r.Drops)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Time.UnixMicro()+epoch))
	return append(b, r.Data...)
}

// Is reports whether a file begins as a capture does.
func Is(file []byte) bool {
	return len(file) >= len(magic) && string(file[:len(magic)]) == string(magic)
}

// A Reader reads a file, record by record. It is for one goroutine.
type Reader struct {
	r    *bufio.Reader
	link uint32
	buf  []byte
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	br := bufio.NewReader(r)
	var h [headerSize]byte
	if _, err := io.ReadFull(br, h[:]); err != nil {
		return nil, fmt.Errorf("cannot read the capture: its header is cut off: %w", err)
	}
	if !Is(h[:]) {
		return nil, errors.New("cannot read the capture: it is no btsnoop file")
	}
	if v := binary.BigEndian.Uint32(h[8:]); v != 1 {
		return nil, fmt.Errorf("cannot read the capture: it is of version %d, want 1", v)
	}
	link := binary.BigEndian.Uint32(h[12:])
	switch link {
	case dataHCI, dataH4, dataMonitor:
		return &Reader{r: br, link: link}, nil
	}
	return nil, fmt.Errorf("cannot read the capture: datalink type %d; want %d, %d or %d", link, dataHCI, dataH4, dataMonitor)
}

// Buffered reports whether there is more than the reader that it reads from was asked for.
func (r *Reader) Buffered() bool { return r.r.Buffered() > 0 }

// Next gives the next record, io.EOF after the last one, and io.ErrUnexpectedEOF where the file ends within one. Data
// is valid until the next call. Records of HCI's kinds that are neither command, event nor ACL data are left out.
func (r *Reader) Next() (Record, error) {
	for {
		var h [recordSize]byte
		if _, err := io.ReadFull(r.r, h[:]); err != nil {
			return Record{}, err
		}
		n := binary.BigEndian.Uint32(h[4:])
		if n > maxData {
			return Record{}, fmt.Errorf("cannot read the capture: a record of %d bytes; want %d at most", n, maxData)
		}
		if cap(r.buf) < int(n) {
			r.buf = make([]byte, n)
		}
		data := r.buf[:n]
		if _, err := io.ReadFull(r.r, data); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return Record{}, err
		}
		flags := binary.BigEndian.Uint32(h[8:])
		rec := Record{
			Drops: binary.BigEndian.Uint32(h[12:]), Data: data,
			Time: time.UnixMicro(int64(binary.BigEndian.Uint64(h[16:])) - epoch),
		}
		if r.link == dataMonitor {
			rec.Index, rec.Op = uint16(flags>>16), Opcode(flags)
			return rec, nil
		}
		if r.hci(&rec, flags) {
			return rec, nil
		}
	}
}

// hci finds the opcode of a record of HCI's kinds.
func (r *Reader) hci(rec *Record, flags uint32) bool {
	received, control := flags&1 != 0, flags&2 != 0
	typ := byte(h4.ACL)
	switch {
	case r.link == dataH4 && len(rec.Data) == 0:
		return false
	case r.link == dataH4:
		typ, rec.Data = rec.Data[0], rec.Data[1:]
	case control && received:
		typ = h4.Event
	case control:
		typ = h4.Command
	}
	switch {
	case typ == h4.Command:
		rec.Op = Command
	case typ == h4.Event:
		rec.Op = Event
	case typ == h4.ACL && received:
		rec.Op = ACLRX
	case typ == h4.ACL:
		rec.Op = ACLTX
	default:
		return false
	}
	return true
}
