package bluezshim

import (
	"os"

	"bluez-esphome/internal/ble"

	"golang.org/x/sys/unix"

	"bluez-esphome/internal/lockorder"
)

// maxPipeQueue and maxPipeBytes are how many notifications wait for a client that does not read: over a minute of the
// fastest link. A client that reads loses nothing. If a client does not read, its newest notifications are dropped and
// logged, and the link stays, as with bluetoothd.
const (
	maxPipeQueue = 65536
	maxPipeBytes = 8 << 20
	// maxAllPipeBytes is how many bytes wait in all pipes together before none takes more.
	maxAllPipeBytes = 64 << 20
)

// A pipe is our end of the SOCK_SEQPACKET pair of AcquireWrite or AcquireNotify.
type pipe struct {
	char   *char
	file   *os.File
	limit  int // longest packet that is written on, 0 unlimited
	closed func()
	table  *ble.Database // that has char

	taking lockorder.Mutex[lockorder.PipeRead] // of AcquireWrite: held from a packet's read to its handing over

	mu     lockorder.Mutex[lockorder.Pipe]
	queue  [][]byte
	bytes  int // of queue
	wake   chan struct{}
	done   bool
	warned bool // that something was dropped
}

// newPipe makes the pair and returns our end and the descriptor for the client, sender. closed runs in the loop, once,
// when either side lets go.
func newPipe(c *char, sender string, limit int, closed func()) (*pipe, int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, err
	}
	quota := &c.peer().shim.pipes
	quota.add(sender)
	p := &pipe{char: c, table: c.peer().db, file: os.NewFile(uintptr(fds[0]), "gatt"), limit: limit, wake: make(chan struct{}, 1)}
	p.closed = func() {
		quota.remove(sender)
		closed()
	}
	return p, fds[1], nil
}

// close is called in the loop; the client reads end of file.
func (p *pipe) close() {
	p.mu.Lock()
	was := p.done
	p.done = true
	p.mu.Unlock()
	if was {
		return
	}
	p.file.Close()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	p.closed()
}

// hangup is called when the socket ended.
func (p *pipe) hangup() { p.char.peer().shim.post(p.close) }

// tooLong logs, once for each pipe, that a client wrote a packet that does not fit the MTU.
func (p *pipe) tooLong() {
	p.mu.Lock()
	first := !p.warned
	p.warned = true
	p.mu.Unlock()
	if first {
		peer := p.char.peer()
		peer.shim.log.Warn("A client wrote more than fits one packet of the link; such packets are dropped",
			"device", peer.addr.String(), "characteristic", p.char.uuid, "limit", p.limit)
	}
}

// watchHangup starts the two goroutines of a notification pipe: one writes what is queued, one
// notices that the client closed its end.
func (p *pipe) watchHangup() {
	shim := p.char.peer().shim
	shim.spawn(func() {
		buf := make([]byte, 1)
		for {
			if n, err := p.file.Read(buf); err != nil || n == 0 {
				break
			}
		}
		p.hangup()
	})
	waiting := &shim.pipes.bytes
	shim.spawn(func() {
		for range p.wake {
			for {
				p.mu.Lock()
				list, size := p.queue, p.bytes
				p.queue, p.bytes = nil, 0
				done := p.done
				p.mu.Unlock()
				if !done {
					for _, v := range list {
						if _, err := p.file.Write(v); err != nil {
							break // the reader of the other end notices the hang-up
						}
					}
				}
				waiting.Add(-int64(size))
				if done {
					return
				}
				if len(list) == 0 {
					break
				}
			}
		}
	})
}

// send queues one notification.
func (p *pipe) send(value []byte) {
	quota := &p.char.peer().shim.pipes
	p.mu.Lock()
	full := len(p.queue) >= maxPipeQueue || p.bytes+len(value) > maxPipeBytes || quota.bytes.Load() > maxAllPipeBytes
	first := full && !p.warned
	if full {
		p.warned = true
	} else if !p.done {
		p.queue = append(p.queue, value)
		p.bytes += len(value)
		quota.bytes.Add(int64(len(value)))
	}
	p.mu.Unlock()
	if full && quota.lost != nil {
		quota.lost(p.char.peer().addr)
	}
	if first {
		peer := p.char.peer()
		peer.shim.log.Warn("A client does not read its notifications; new ones are dropped until it does",
			"device", peer.addr.String(), "characteristic", p.char.uuid)
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
