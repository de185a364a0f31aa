package bluezshim_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
	"bluez-esphome/internal/links/linkstest"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// acquire calls AcquireWrite or AcquireNotify and returns the client's end.
func (c *client) acquire(path, method string, meanwhile func()) (*os.File, uint16) {
	c.t.Helper()
	ch := make(chan *dbus.Call, 1)
	c.conn.Object("org.bluez", fullPath(path)).Go(fullName(char1+method), 0, ch, options{})
	meanwhile()
	var r *dbus.Call
	select {
	case r = <-ch:
	case <-time.After(patience):
		c.t.Fatal("no answer")
	}
	if r.Err != nil {
		c.t.Fatal(r.Err)
	}
	fd := int(r.Body[0].(dbus.UnixFD))
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || typ != unix.SOCK_SEQPACKET {
		c.t.Fatalf("socket type %d, error %v", typ, err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
		c.t.Errorf("the socket blocks: %#x, %v", flags, err)
	}
	f := os.NewFile(uintptr(fd), "acquired")
	c.t.Cleanup(func() { _ = f.Close() })
	return f, r.Body[1].(uint16)
}

// packet reads one packet; nil is the end of file.
func packet(t testing.TB, f *os.File) []byte {
	t.Helper()
	_ = f.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 1024)
	n, err := f.Read(buf)
	if n == 0 {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func TestAcquireNotify(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	f, mtu := c.acquire(charNtf, "AcquireNotify", func() {
		op := h.links.Next(t, "Subscribe 0016")
		_, e := c.call(charNtf, char1+"AcquireNotify", options{})
		check(t, "a second one", e, "NotPermitted: Notify acquired")
		_, e = c.call(charNtf, char1+"StartNotify")
		check(t, "StartNotify", e, "NotPermitted: Notify acquired")
		op.End(nil)
	})
	check(t, "MTU", mtu, 247)
	c.want(charNtf + " GattCharacteristic1 NotifyAcquired=true")
	check(t, "Notifying", c.get(charNtf, "GattCharacteristic1", "Notifying"), "false")
	for _, m := range []string{"AcquireNotify", "StartNotify"} {
		args := []any{options{}}
		if m == "StartNotify" {
			args = nil
		}
		_, e := c.call(charNtf, char1+m, args...)
		check(t, m, e, "NotPermitted: Notify acquired")
	}
	h.shim.Notified(dev1, 0x16, []byte{1, 2})
	h.shim.Notified(dev1, 0x16, []byte{3})
	check(t, "packets", [][]byte{packet(t, f), packet(t, f)}, [][]byte{{1, 2}, {3}})
	c.want() // and no Value
	_ = f.Close()
	c.await(charNtf + " GattCharacteristic1 NotifyAcquired=false")
	h.links.Next(t, "Unsubscribe 0016")

	// StopNotify, of anybody, closes it.
	f, _ = c.acquire(charInd, "AcquireNotify", func() { h.links.Next(t, "Subscribe 0019").End(nil) }) // it has no NotifyAcquired
	other := h.client()
	_, e := other.call(charInd, char1+"StopNotify")
	check(t, "StopNotify", e, "")
	if p := packet(t, f); p != nil {
		t.Errorf("packet %v, want the end", p)
	}
	h.links.Next(t, "Unsubscribe 0019")
	_ = f.Close()
	_, e = c.call(charNone, char1+"AcquireNotify", options{})
	check(t, "without the flag", e, notSupported)
}

func TestAcquireNotifyFails(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	c.send(charNtf, char1+"AcquireNotify", options{})
	h.links.Next(t, "Subscribe 0016").End(ble.ATTAuthorization)
	c.want("AcquireNotify: NotAuthorized: Operation Not Authorized")
	h.links.Next(t, "Unsubscribe 0016")
	c.send(charNtf, char1+"AcquireNotify", options{})
	op := h.links.Next(t, "Subscribe 0016")
	h.shim.LinkDown(dev1, ble.DisconnectRemote)
	op.End(ble.ErrNotConnected)
	got := c.lines()
	check(t, "the last line", got[len(got)-1], "AcquireNotify: Failed: Operation failed with ATT error: 0x0e")
	h.links.Next(t, "Unsubscribe 0016")
	c.send(charNtf, char1+"StartNotify")
	h.links.Next(t, "Subscribe 0016").End(nil)
	c.want("StartNotify: ok")
}

// TestAcquireNotifyOrder: what a client that reads gets is all there is, in order.
func TestAcquireNotifyOrder(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	f, _ := c.acquire(charNtf, "AcquireNotify", func() { h.links.Next(t, "Subscribe 0016").End(nil) })
	const packets, window = 10000, 500
	for sent := 0; sent < packets; sent += window {
		for i := range window {
			h.shim.Notified(dev1, 0x16, binary.BigEndian.AppendUint32(nil, uint32(sent+i)))
		}
		for i := range window {
			if p := packet(t, f); len(p) != 4 || binary.BigEndian.Uint32(p) != uint32(sent+i) {
				t.Fatalf("packet %d is %v", sent+i, p)
			}
		}
	}
	if strings.Contains(h.log.String(), "dropped") {
		t.Error("packets were dropped")
	}
}

// TestSlowReader: a client that does not read holds up nobody and nothing.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	f, _ := c.acquire(charNtf, "AcquireNotify", func() { h.links.Next(t, "Subscribe 0016").End(nil) })
	c.lines()
	for i := range 3 * bluezshim.MaxPipeQueue {
		h.shim.Notified(dev1, 0x16, binary.BigEndian.AppendUint32(nil, uint32(i)))
		if i%1000 == 0 {
			h.do(func() {})
		}
	}
	for range 3 * bluezshim.MaxPipeQueue / 64 {
		h.do(func() {})
	}
	c.want()
	if n := strings.Count(h.log.String(), "does not read its notifications"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	for i := range bluezshim.MaxPipeQueue { // a run without gaps from the first
		if p := packet(t, f); len(p) != 4 || binary.BigEndian.Uint32(p) != uint32(i) {
			t.Fatalf("packet %d is %v", i, p)
		}
	}
	h.shim.LinkDown(dev1, ble.DisconnectRemote)
	c.want(append(downLines("Remote", "Connection terminated by remote user")[:1], append([]string{charNtf + " GattCharacteristic1 NotifyAcquired=false"},
		downLines("Remote", "Connection terminated by remote user")[1:]...)...)...)
	h.links.Next(t, "Unsubscribe 0016")
}

func TestAcquireWrite(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService(), gapService()))
	h.links.Next(t, "Read 0005").End(ble.ErrTimeout)
	for path, want := range map[string]string{
		charRW: notSupported, charName: "NotAuthorized: Operation Not Authorized",
	} {
		_, e := c.call(path, char1+"AcquireWrite", options{})
		check(t, path, e, want)
	}
	f, mtu := c.acquire(charCmd, "AcquireWrite", func() {})
	check(t, "MTU", mtu, 247)
	c.want(charCmd + " GattCharacteristic1 WriteAcquired=true")
	_, e := c.call(charCmd, char1+"AcquireWrite", options{})
	check(t, "again", e, "NotPermitted: Write acquired")
	_, e = c.call(charCmd, char1+"WriteValue", []byte{1}, options{})
	check(t, "WriteValue", e, "NotPermitted: Write acquired")
	write := func(p []byte) {
		t.Helper()
		if _, err := f.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte{1, 2})
	write(make([]byte, 245)) // too long for the MTU: dropped
	write([]byte{3})
	h.links.Next(t, "WriteCommand 0014 [1 2]").End(nil)
	h.links.Next(t, "WriteCommand 0014 [3]").End(nil)
	_ = f.Close()
	c.await(charCmd + " GattCharacteristic1 WriteAcquired=false")

	f, _ = c.acquire(charCmd, "AcquireWrite", func() {})
	c.await(charCmd + " GattCharacteristic1 WriteAcquired=true")
	write([]byte{4})
	h.links.Next(t, "WriteCommand 0014 [4]").End(errors.New("no")) // ends it
	c.await(charCmd + " GattCharacteristic1 WriteAcquired=false")
	if p := packet(t, f); p != nil {
		t.Errorf("packet %v, want the end", p)
	}
	f, _ = c.acquire(charCmd, "AcquireWrite", func() {})
	h.shim.LinkDown(dev1, ble.DisconnectRemote)
	if p := packet(t, f); p != nil {
		t.Errorf("packet %v, want the end", p)
	}
	got := c.lines()
	check(t, "lines", got[:3], []string{charCmd + " GattCharacteristic1 WriteAcquired=true", "hci0/dev1 Device1 ServicesResolved=false",
		charCmd + " GattCharacteristic1 WriteAcquired=false"})
}

// A packet is sent whole or not at all: at the largest MTU it may be longer than an attribute's value.
func TestAcquireWriteLongPackets(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	h.shim.Resolved(dev1, database(customService()), ble.MaxMTU)
	got := make(chan int, 10)
	h.links.Auto("WriteCommand", func(op *linkstest.Op) {
		got <- len(op.Value)
		op.End(nil)
	})
	f, _ := c.acquire(charCmd, "AcquireWrite", func() {})
	for _, n := range []int{ble.MaxAttribute, 514, 515, 600, 1} {
		if _, err := f.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{ble.MaxAttribute, 514, 1} {
		select {
		case n := <-got:
			if n != want {
				t.Errorf("a packet of %d bytes, want %d", n, want)
			}
		case <-time.After(patience):
			t.Fatalf("no packet of %d bytes", want)
		}
	}
	if n := strings.Count(h.log.String(), "more than fits"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

func TestAcquireWriteOrder(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	got := make(chan []byte, 10000)
	h.links.Auto("WriteCommand", func(op *linkstest.Op) {
		got <- op.Value
		op.End(nil)
	})
	f, _ := c.acquire(charCmd, "AcquireWrite", func() {})
	_ = f.SetWriteDeadline(time.Now().Add(patience))
	for i := range 10000 {
		if _, err := f.Write(binary.BigEndian.AppendUint32(nil, uint32(i))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10000 {
		select {
		case v := <-got:
			if binary.BigEndian.Uint32(v) != uint32(i) {
				t.Fatalf("packet %d is %v", i, v)
			}
		case <-time.After(patience):
			t.Fatalf("packet %d did not come", i)
		}
	}
}

// TestPipesEnd: whatever was acquired ends with the device, its service, or the daemon.
func TestPipesEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(h *harness, c *client){
		"service": func(h *harness, _ *client) { h.shim.DatabaseChanged(dev1, database()) },
		"daemon":  func(h *harness, _ *client) { h.do(h.shim.Close) },
		"device": func(h *harness, c *client) {
			c.send("hci0", "Adapter1.RemoveDevice", fullPath("hci0/dev1"))
			h.links.Next(h.t, "Disconnect")
			h.shim.LinkDown(dev1, ble.DisconnectLocal)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, 1)
			c := h.client()
			h.connected(c, database(customService()))
			w, _ := c.acquire(charCmd, "AcquireWrite", func() {})
			n, _ := c.acquire(charNtf, "AcquireNotify", func() { h.links.Next(t, "Subscribe 0016").End(nil) })
			end(h, c)
			for what, f := range map[string]*os.File{"write": w, "notify": n} {
				if p := packet(t, f); p != nil {
					t.Errorf("%s: packet %v, want the end", what, p)
				}
			}
		})
	}
}

// TestDescriptorsDoNotLeak is not parallel: it counts the process's.
func TestDescriptorsDoNotLeak(t *testing.T) {
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	before := openFDs(t)
	for range 20 {
		w, _ := c.acquire(charCmd, "AcquireWrite", func() {})
		n, _ := c.acquire(charNtf, "AcquireNotify", func() { h.links.Next(t, "Subscribe 0016").End(nil) })
		_ = w.Close()
		_ = n.Close()
		h.links.Next(t, "Unsubscribe 0016")
		for {
			if c.lines(); c.get(charCmd, "GattCharacteristic1", "WriteAcquired") == "false" {
				break
			}
		}
	}
	if after := openFDs(t); after > before {
		t.Errorf("%d file descriptors are open, %d were", after, before)
	}
}

// TestAcquirersLeave: descriptors of clients that left before the answer are not kept.
func TestAcquirersLeave(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	watch := h.client()
	h.connected(watch, database(customService()))
	for i := range 3 {
		c := h.client()
		c.send(charNtf, char1+"AcquireNotify", options{})
		op := h.links.Next(t, "Subscribe 0016")
		h.leave(c)
		watch.lines()
		op.End(nil)
		watch.await(charNtf + " GattCharacteristic1 NotifyAcquired=true")
		watch.await(charNtf + " GattCharacteristic1 NotifyAcquired=false")
		h.links.Next(t, "Unsubscribe 0016")
		check(t, fmt.Sprint("round ", i), watch.get(charNtf, "GattCharacteristic1", "NotifyAcquired"), "false")
	}
}
