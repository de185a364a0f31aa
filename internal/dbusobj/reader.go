package dbusobj

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
)

const (
	// maxBody bounds the body of a message that is kept; D-Bus allows 128 MiB, and the longest that means something to us,
	// the list of an application's monitors, has 0.3 MiB. A larger call is answered with an error.
	maxBody = 1 << 20
	// maxFields is how long a header may be to be kept: its names have 255 bytes at most. Only a path may be longer, as
	// long as a message (the specification has no bound), and then no object has it; it is passed over.
	maxFields = 8 << 10
	// maxMessageSize bounds messages and their headers (D-Bus specification, Message Format).
	maxMessageSize = 1 << 27
	// fdRoom is the room for file descriptors in one read: Linux passes at most 253.
	fdRoom = 256
)

var errTooLarge = errors.New("message is too large")

// fdBatch is what came with one read: the descriptors belong to a message that begins
// in [start, end) of the stream.
type fdBatch struct {
	start, end uint64
	fds        []int
}

// reader takes messages off the socket. Each descriptor that the kernel hands over ends
// up in a message or is closed here.
type reader struct {
	sock *receiver
	buf  []byte
	r, w int
	pos  uint64 // of buf[r] in the stream
	oob  []byte
	head []byte // scratch
	fds  []fdBatch
}

func newReader(sock socket) *reader {
	return &reader{sock: newReceiver(sock), buf: make([]byte, 64<<10), oob: make([]byte, syscall.CmsgSpace(4*fdRoom))}
}

// close closes the descriptors that no message claimed.
func (r *reader) close() {
	for _, b := range r.fds {
		closeFDs(b.fds)
	}
	r.fds = nil
}

func (r *reader) fill() error {
	r.r, r.w = 0, 0
	n, oobn, flags, err := r.sock.receive(r.buf, r.oob)
	if oobn > 0 {
		fds := parseFDs(r.oob[:oobn])
		if flags&syscall.MSG_CTRUNC != 0 {
			// The process is out of descriptors and the kernel dropped some: which message
			// they belong to is known, so only that one suffers.
			closeFDs(fds)
			fds = nil
		}
		if len(fds) > 0 {
			r.fds = append(r.fds, fdBatch{r.pos, r.pos + uint64(n), fds})
		}
	}
	r.w = n
	return err
}

func parseFDs(oob []byte) (fds []int) {
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range msgs {
		if got, err := syscall.ParseUnixRights(&m); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

// read fills p; with p nil it skips n bytes.
func (r *reader) read(p []byte, n int) error {
	for n > 0 {
		if r.r == r.w {
			if err := r.fill(); err != nil {
				return err
			}
		}
		k := min(n, r.w-r.r)
		if p != nil {
			p = p[copy(p, r.buf[r.r:r.r+k]):]
		}
		r.r += k
		r.pos += uint64(k)
		n -= k
	}
	return nil
}

// next reads one message. An error ends the connection.
func (r *reader) next() (*message, error) {
	start := r.pos
	var fixed [fixedHeader]byte
	if err := r.read(fixed[:], fixedHeader); err != nil {
		return nil, err
	}
	order := binary.ByteOrder(binary.LittleEndian)
	switch fixed[0] {
	case 'l':
	case 'B':
		order = binary.BigEndian
	default:
		return nil, fmt.Errorf("%w: byte order %#x", errHeader, fixed[0])
	}
	bodyLen, fields := order.Uint32(fixed[4:]), order.Uint32(fixed[12:])
	if fixed[3] != 1 || fields > maxMessageSize || bodyLen > maxMessageSize {
		return nil, fmt.Errorf("%w: version %d, lengths %d and %d", errHeader, fixed[3], fields, bodyLen)
	}
	head, err := r.fields(fixed[:], int(fields))
	if err != nil {
		return nil, err
	}
	if err := r.read(nil, -int(fields)&7); err != nil {
		return nil, err
	}
	m, err := parseHeader(head)
	if err != nil {
		// The message is well framed, so it can be passed over.
		m = &message{}
	}
	m.head = len(head)
	if bodyLen > maxBody {
		m.broken = errTooLarge
		err = r.read(nil, int(bodyLen))
	} else if bodyLen > 0 {
		m.body = make([]byte, bodyLen)
		err = r.read(m.body, int(bodyLen))
	} else {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	r.claim(m, start)
	return m, nil
}

// fields reads the field array of n bytes and gives the whole header. It is valid until the next one is read.
func (r *reader) fields(fixed []byte, n int) ([]byte, error) {
	if n > maxFields {
		return r.shorten(fixed, n)
	}
	if cap(r.head) < fixedHeader+n {
		r.head = make([]byte, max(512, fixedHeader+n))
	}
	head := r.head[:fixedHeader+n]
	copy(head, fixed)
	return head, r.read(head[fixedHeader:], n)
}

// shorten is fields without what is too long. If something is wrong with the fields, it is with the header that it
// gives.
func (r *reader) shorten(fixed []byte, n int) ([]byte, error) {
	order := binary.ByteOrder(binary.LittleEndian)
	if fixed[0] == 'B' {
		order = binary.BigEndian
	}
	head := append(r.head[:0], fixed...)
	var err error
	take := func(k int) []byte { // the next k bytes
		k = min(k, n)
		n -= k
		start := len(head)
		head = append(head, make([]byte, k)...)
		if err == nil {
			err = r.read(head[start:], k)
		}
		return head[start:]
	}
	skip := func(k int) {
		k = min(k, n)
		n -= k
		if err == nil {
			err = r.read(nil, k)
		}
	}
	for length := n; n > 0 && err == nil; {
		skip(-(length - n) & 7)
		for len(head)%8 != 0 {
			head = append(head, 0)
		}
		start := len(head)
		size := 0
		field := take(4)
		switch {
		case len(field) < 4:
		case field[2] == 's' || field[2] == 'o':
			if b := take(4); len(b) == 4 {
				size = int(min(order.Uint32(b), maxMessageSize)) + 1 // an int may have 32 bits
			}
		case field[2] == 'g':
			if b := take(1); len(b) == 1 {
				size = int(b[0]) + 1
			}
		case field[2] == 'u':
			size = 4
		default:
			skip(n)
		}
		if len(head)+size > fixedHeader+maxFields {
			head = head[:start]
			skip(size)
		} else {
			take(size)
		}
	}
	r.head = head
	return head, err
}

// more says whether the next message is here already.
func (r *reader) more() bool {
	b := r.buf[r.r:r.w]
	if len(b) < fixedHeader {
		return false
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if b[0] == 'B' {
		order = binary.BigEndian
	}
	return uint64(len(b)) >= fixedHeader+(uint64(order.Uint32(b[12:]))+7)&^7+uint64(order.Uint32(b[4:]))
}

// claim gives m, which began at start and ends here, the descriptors that it announced.
// What came earlier and was not claimed belongs to nobody any more.
func (r *reader) claim(m *message, start uint64) {
	for len(r.fds) > 0 && r.fds[0].end <= start {
		closeFDs(r.fds[0].fds)
		r.fds = r.fds[1:]
	}
	want := int(min(m.nfds, fdRoom+1)) // more than there can be
	for want > len(m.fds) && len(r.fds) > 0 && r.fds[0].start < r.pos {
		b := &r.fds[0]
		k := min(want-len(m.fds), len(b.fds))
		m.fds = append(m.fds, b.fds[:k]...)
		b.fds = b.fds[k:]
		if len(b.fds) == 0 {
			r.fds = r.fds[1:]
		}
	}
	if len(m.fds) < want && m.broken == nil {
		m.broken = errors.New("file descriptors got lost")
	}
	if m.broken != nil || !mayHoldFD(m.sig) {
		m.close()
	}
}

// mayHoldFD says whether a body of that signature can refer to a file descriptor.
func mayHoldFD(sig string) bool {
	for i := range len(sig) {
		if sig[i] == 'h' || sig[i] == 'v' {
			return true
		}
	}
	return false
}
