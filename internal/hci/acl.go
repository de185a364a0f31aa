package hci

// L2CAP's fixed channels on an LE link (Bluetooth Core, Vol 3 Part A, 2.1).
const (
	channelATT       = 0x0004
	channelSignaling = 0x0005
	channelSMP       = 0x0006
)

const (
	// maxL2CAP is the longest payload of any channel here: a write of 512 bytes in one ATT PDU, with its header.
	maxL2CAP = 517 + 4
	// maxUncredited is how many packets of a host are taken that were not credited: aclPackets by right, and more of one
	// that cannot count. Further ones are dropped.
	maxUncredited = 64
	// Packet boundary flags, above the handle.
	boundaryFirst        = 0b00 // from the host
	boundaryContinuation = 0b01
	boundaryFromUs       = 0b10
)

// assembly puts the ACL packets of one link together to L2CAP frames.
type assembly struct {
	buf  []byte // header included
	want int    // the frame's length with its header; 0: none has begun
}

// add takes the data of one ACL packet and returns a frame that is whole with it, header included. What does not fit is
// dropped with its frame.
func (f *assembly) add(boundary byte, data []byte) []byte {
	if boundary == boundaryContinuation {
		if f.want == 0 {
			return nil
		}
		f.buf = append(f.buf, data...)
	} else {
		f.want, f.buf = 0, append(f.buf[:0], data...)
		if boundary == 0b11 {
			return nil
		}
		f.want = 4 + maxL2CAP
	}
	if len(f.buf) < 4 { // a header may be in pieces, too
		return nil
	}
	f.want = 4 + int(u16(f.buf))
	switch {
	case f.want > 4+maxL2CAP || len(f.buf) > f.want:
		f.want = 0
		return nil
	case len(f.buf) < f.want:
		return nil
	}
	f.want = 0
	return f.buf
}

// acl takes one ACL packet without its type. c.mu is held.
func (c *Controller) acl(p []byte) {
	handle, boundary, data := u16(p)&0x0fff, p[1]>>4&3, p[4:]
	l := c.links[handle]
	if l == nil || l.uncredited >= maxUncredited {
		return // on its way to a link that ended, whose credits the host takes back itself
	}
	l.uncredited++
	taken := func() {
		if !l.closed {
			l.uncredited--
			c.credit(handle, 1)
		}
	}
	frame := l.frame.add(boundary, data)
	if frame == nil {
		taken()
		return
	}
	switch payload := frame[4:]; u16(frame[2:]) {
	case channelATT:
		l.att.Receive(payload, taken)
	case channelSMP:
		taken()
		l.smp.Receive(payload)
	case channelSignaling:
		taken()
		l.signal(payload)
	default:
		taken()
	}
}

// send sends one L2CAP frame, in packets that the host takes.
func (l *link) send(channel uint16, payload []byte) {
	if l.closed {
		return
	}
	frame := make([]byte, 0, 4+len(payload))
	frame = append(frame, byte(len(payload)), byte(len(payload)>>8), byte(channel), byte(channel>>8))
	frame = append(frame, payload...)
	boundary := byte(boundaryFromUs)
	for len(frame) > 0 {
		part := frame[:min(len(frame), aclLength)]
		p := make([]byte, 0, 5+len(part))
		p = append(p, typeACL, byte(l.handle), byte(l.handle>>8)|boundary<<4, byte(len(part)), byte(len(part)>>8))
		l.c.out.put(append(p, part...))
		frame, boundary = frame[len(part):], boundaryContinuation
	}
}
