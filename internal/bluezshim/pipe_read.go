package bluezshim

import (
	"bluez-esphome/internal/ble"

	"golang.org/x/sys/unix"
)

// taken is the result of looking for a packet in the socket of AcquireWrite.
type taken uint8

const (
	pipeEmpty taken = iota
	pipeEnded       // the client closed its end, or an error
	pipeSkipped
	pipeTook
)

// readCommands writes each packet of the client as a Write Command, in order; the next is read once
// the last was handed over.
func (p *pipe) readCommands() {
	rc, err := p.file.SyscallConn()
	if err != nil {
		p.hangup()
		return
	}
	p.char.peer().shim.spawn(func() {
		defer p.hangup()
		handed := make(chan error, 1)
		for {
			got := pipeEnded
			if err := rc.Read(func(fd uintptr) bool {
				got = p.take(int(fd), func(err error) { handed <- err })
				return got != pipeEmpty
			}); err != nil || got == pipeEnded {
				return
			}
			if got == pipeTook && <-handed != nil {
				return
			}
		}
	})
}

// drain hands over what the client has written so far, without waiting for anything. It is called in the loop.
func (p *pipe) drain() {
	rc, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	// Control, unlike Read, does not wait for the goroutine that waits for a packet.
	_ = rc.Control(func(fd uintptr) {
		for range maxPipeQueue {
			if got := p.take(int(fd), func(error) {}); got == pipeEmpty || got == pipeEnded {
				return
			}
		}
	})
}

// take reads one packet, if there is one, and hands it over; handed is called unless it reports something else than
// pipeTook.
func (p *pipe) take(fd int, handed func(error)) taken {
	p.taking.Lock() // packets are handed over in the order in which they were read
	defer p.taking.Unlock()
	buf := make([]byte, p.limit+1) // one more than fits: the socket cuts what is longer than the buffer
	n, err := unix.Read(fd, buf)
	for err == unix.EINTR {
		n, err = unix.Read(fd, buf)
	}
	switch {
	case err == unix.EAGAIN:
		return pipeEmpty
	case err != nil, n == 0:
		return pipeEnded
	case n > p.limit:
		p.tooLong() // bluetoothd drops what does not fit the MTU
		return pipeSkipped
	}
	peer := p.char.peer()
	op := ble.Operation{Kind: ble.OpWriteCommand, Table: p.table, Handle: p.char.def.ValueHandle, Value: buf[:n:n]}
	peer.shim.links.Do(peer.addr, op, func(_ []byte, err error) { handed(err) })
	return pipeTook
}

// drainPipes hands over what clients wrote to their descriptors, before the link is ended.
func (p *peer) drainPipes() {
	for _, c := range p.chars {
		if c.writer != nil {
			c.writer.drain()
		}
	}
}

// Drain hands over what clients wrote to their descriptors so far, before the links are ended. It is called in the
// loop.
func (s *Shim) Drain() {
	for _, p := range s.peers {
		p.drainPipes()
	}
}
