package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"bluez-esphome/tests/bench/load"

	"github.com/godbus/dbus/v5"
)

const aboutController = `A virtual controller at a unix socket, and a host that only sends packets and reads. The flood of one plain proxy with 500 devices: what an advertisement costs
more than without a controller, while its host does not scan, and while it scans actively with the duplicate filter. Reads of 20 bytes, one after the other: the time of an ATT
read, beside that of ReadValue less the time of the bus, which is that of org.freedesktop.DBus.Peer.Ping less that of the command Read BD_ADDR: both only ask
the daemon. Memory in RAM of one of 16 controllers whose hosts do nothing.`

// Names of the cases that the row compares.
const (
	noController = "no controller"
	hostIdle     = "a host that does not scan"
	hostScans    = "a host that scans"
	scanAdds     = "added by scanning"
	idleAdds     = "added while not"
	busless      = "D-Bus without its bus"
	throughHCI   = "controller"
)

func controller(ctx context.Context, w *world, r *result) error {
	adverts, reads, memory := r.group("advertisements"), r.group("reads"), r.group("16 controllers")
	for range w.rounds {
		if err := w.controllerAdverts(ctx, adverts); err != nil {
			return fmt.Errorf("advertisements: %w", err)
		}
		if err := w.controllerReads(ctx, reads); err != nil {
			return fmt.Errorf("reads: %w", err)
		}
		if err := w.controllerMemory(ctx, memory); err != nil {
			return fmt.Errorf("memory: %w", err)
		}
	}
	adverts.atMost(scanAdds, perAdvert, " µs", 0.3)
	adverts.atMost(idleAdds, perAdvert, " µs", 0.02) // nothing but the variation of the measurement
	reads.ratio(p50Read, throughHCI, busless, 1.2)
	memory.atMost("each", inRAM, " MiB", 1)
	return nil
}

// sockets gives new socket paths for n controllers.
func (w *world) sockets(n int) (out []string) {
	for i := range n {
		w.controllers++
		out = append(out, filepath.Join(w.dir, fmt.Sprintf("h%d-%d", w.controllers, i)))
	}
	return out
}

// controllerAdverts measures the flood three times.
func (w *world) controllerAdverts(ctx context.Context, g *group) error {
	took := map[string]float64{}
	for _, who := range []string{noController, hostIdle, hostScans} {
		v, err := w.controllerFlood(ctx, who)
		if err != nil {
			return err
		}
		took[who] = v
		g.add(who, perAdvert, v)
	}
	g.add(scanAdds, perAdvert, took[hostScans]-took[noController])
	g.add(idleAdds, perAdvert, took[hostIdle]-took[noController])
	return nil
}

func (w *world) controllerFlood(ctx context.Context, who string) (float64, error) {
	var s settings
	if who != noController {
		s.hci = w.sockets(1)
	}
	l, err := w.running(ctx, air(1, 500, ""), s)
	if err != nil {
		return 0, err
	}
	defer l.stop()
	for _, socket := range s.hci {
		h, err := newHost(socket)
		if err != nil {
			return 0, l.daemon.failed(err)
		}
		defer h.close()
		if who == hostScans {
			err = errors.Join(h.command("0b20 07 01 6000 6000 00 00"), h.command("0c20 02 01 01"))
		}
		if err != nil {
			return 0, l.daemon.failed(err)
		}
		go func() { _, _ = io.Copy(io.Discard, h.conn) }()
	}
	if err := l.everybody(ctx, 2); err != nil {
		return 0, l.daemon.failed(err)
	}
	var sent load.Answer
	c, err := w.measure(l.daemon, func() (err error) {
		sent, err = l.send(ctx, w.scale(1_000_000), 0)
		return err
	})
	return micros(c.process) / float64(sent.Count), err
}

// controllerReads measures reads through D-Bus and through a controller of the same daemon.
func (w *world) controllerReads(ctx context.Context, g *group) error {
	sockets := w.sockets(1)
	l, err := w.connectedWith(ctx, settings{hci: sockets})
	if err != nil {
		return err
	}
	defer l.stop()
	defer l.conn.Close()
	path, err := l.char(ctx, load.ValueUUID)
	if err != nil {
		return err
	}
	h, err := newHost(sockets[0])
	if err != nil {
		return err
	}
	defer h.close()
	if err := h.connect(); err != nil {
		return l.daemon.failed(err)
	}
	o := l.conn.Object("org.bluez", path)
	times := map[string]float64{}
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"ReadValue", func() error {
			return o.CallWithContext(ctx, charIface+".ReadValue", 0, map[string]dbus.Variant{}).Err
		}},
		{"Ping", func() error { return o.CallWithContext(ctx, "org.freedesktop.DBus.Peer.Ping", 0).Err }},
		{"command", func() error { return h.command("0910 00") }},
		{throughHCI, h.read},
	} {
		var took []float64
		for i := range w.reads() + w.reads()/10 {
			start := time.Now()
			if err := c.do(); err != nil {
				return l.daemon.failed(fmt.Errorf("%s: %w", c.name, err))
			}
			if i >= w.reads()/10 {
				took = append(took, micros(time.Since(start)))
			}
		}
		times[c.name] = median(took)
	}
	g.add("D-Bus", p50Read, times["ReadValue"])
	g.add("the bus", p50Read, times["Ping"]-times["command"])
	g.add(busless, p50Read, times["ReadValue"]-(times["Ping"]-times["command"]))
	g.add(throughHCI, p50Read, times[throughHCI])
	return nil
}

// controllerMemory measures how much RAM idle controllers take.
func (w *world) controllerMemory(ctx context.Context, g *group) error {
	const n = 16
	var all [2]float64
	for i, sockets := range [][]string{nil, w.sockets(n)} {
		v, err := w.idle(ctx, sockets)
		if err != nil {
			return err
		}
		all[i] = v
	}
	g.add(noController, inRAM, all[0])
	g.add("all", inRAM, all[1])
	g.add("each", inRAM, (all[1]-all[0])/n)
	return nil
}

func (w *world) idle(ctx context.Context, sockets []string) (float64, error) {
	l, err := w.running(ctx, air(1, 100, psk), settings{hci: sockets})
	if err != nil {
		return 0, err
	}
	defer l.stop()
	for _, s := range sockets {
		h, err := newHost(s)
		if err != nil {
			return 0, l.daemon.failed(err)
		}
		defer h.close()
	}
	if err := l.everybody(ctx, 2); err != nil {
		return 0, l.daemon.failed(err)
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return 0, err
	}
	return rss(l.daemon.pid())
}

// hciHost is a host of a controller that reads every packet.
type hciHost struct {
	conn   net.Conn
	buf    []byte
	handle uint16
}

// newHost connects to a controller and resets it.
func newHost(socket string) (*hciHost, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the controller: %w", err)
	}
	h := &hciHost{conn: conn}
	if err := h.command("030c 00"); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return h, nil
}

func (h *hciHost) close() { _ = h.conn.Close() }

func (h *hciHost) send(packet string) error {
	b, err := hex.DecodeString(strings.ReplaceAll(packet, " ", ""))
	if err != nil {
		return err
	}
	_ = h.conn.SetDeadline(time.Now().Add(answerTimeout))
	_, err = h.conn.Write(b)
	return err
}

// command sends a command and waits for its Command Complete or Command Status event.
func (h *hciHost) command(packet string) error {
	if err := h.send("01" + packet); err != nil {
		return err
	}
	op, _ := hex.DecodeString(packet[:4])
	_, err := h.until(func(p []byte) bool {
		return p[0] == 4 && (p[1] == 0x0e && bytes.Equal(p[4:6], op) || p[1] == 0x0f && bytes.Equal(p[5:7], op))
	})
	return err
}

// until reads packets until wanted returns true for one, and returns that one.
func (h *hciHost) until(wanted func(p []byte) bool) ([]byte, error) {
	var more [4096]byte
	for {
		for {
			n := 0
			b := h.buf
			switch {
			case len(b) >= 3 && b[0] == 4:
				n = 3 + int(b[2])
			case len(b) >= 5 && b[0] == 2:
				n = 5 + int(binary.LittleEndian.Uint16(b[3:]))
			}
			if n == 0 || len(h.buf) < n {
				break
			}
			p := h.buf[:n]
			h.buf = h.buf[n:]
			if wanted(p) {
				return p, nil
			}
		}
		n, err := h.conn.Read(more[:])
		if err != nil {
			return nil, err
		}
		h.buf = append(h.buf, more[:n]...)
	}
}

// connect makes a link to the load's device, exchanges the MTU, and reads once.
func (h *hciHost) connect() error {
	address, err := hex.DecodeString(strings.ReplaceAll(load.Address, ":", ""))
	if err != nil {
		return err
	}
	for i, j := 0, len(address)-1; i < j; i, j = i+1, j-1 {
		address[i], address[j] = address[j], address[i]
	}
	if err := h.command("0d20 19 60006000 00 01" + hex.EncodeToString(address) + "00 1800 2800 0000 2a00 00000000"); err != nil {
		return err
	}
	p, err := h.until(func(p []byte) bool { return p[0] == 4 && p[1] == 0x3e && p[3] == 1 })
	if err != nil {
		return err
	}
	h.handle = binary.LittleEndian.Uint16(p[5:])
	if err := h.att("02f700", 0x03); err != nil {
		return err
	}
	return h.read()
}

// att sends one ATT request and waits for its answer.
func (h *hciHost) att(pdu string, answer byte) error {
	n := len(pdu) / 2
	if err := h.send(fmt.Sprintf("02 %02x%02x %02x00 %02x00 0400 %s", byte(h.handle), byte(h.handle>>8), n+4, n, pdu)); err != nil {
		return err
	}
	p, err := h.until(func(p []byte) bool { return p[0] == 2 })
	if err == nil && (len(p) < 10 || p[9] != answer) {
		err = fmt.Errorf("the answer to %s is % x", pdu, p)
	}
	return err
}

func (h *hciHost) read() error { return h.att(fmt.Sprintf("0a%02x00", load.ValueHandle), 0x0b) }
