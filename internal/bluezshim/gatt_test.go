package bluezshim_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"bluez-esphome/internal/ble"
)

const (
	notConnected = "Failed: Not connected"
	inProgress   = "InProgress: In Progress"
	notSupported = "NotSupported: Operation is not supported"
	initiate     = "Failed: Failed to initiate write"
	char1        = "GattCharacteristic1."
	desc1        = "GattDescriptor1."
)

func TestGattProperties(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	check(t, "service", c.props(svc, "GattService1"), map[string]string{
		"Handle": "16", "UUID": uuidCustom.String(), "Device": "hci0/dev1", "Primary": "true", "Includes": "[]",
	})
	char := func(path string, handle int, uuid ble.UUID, flags string, more map[string]string) {
		t.Helper()
		want := map[string]string{
			"Handle": fmt.Sprint(handle), "UUID": uuid.String(), "Service": svc, "Value": "", "Flags": flags, "MTU": "247",
		}
		for k, v := range more {
			want[k] = v
		}
		check(t, path, c.props(path, "GattCharacteristic1"), want)
	}
	char(charRW, 0x11, custom(1), "[read write]", nil)
	char(charCmd, 0x13, custom(2), "[write-without-response]", map[string]string{"WriteAcquired": "false"})
	char(charNtf, 0x15, custom(3), "[notify]", map[string]string{"NotifyAcquired": "false", "Notifying": "false"})
	char(charInd, 0x18, custom(4), "[indicate]", map[string]string{"Notifying": "false"})
	char(charAll, 0x1b, custom(5), "[read write-without-response write notify]",
		map[string]string{"WriteAcquired": "false", "NotifyAcquired": "false", "Notifying": "false"})
	char(charRel, 0x1f, custom(6), "[read write extended-properties reliable-write]", nil)
	char(charNone, 0x22, custom(7), "[]", nil)
	check(t, "descriptor", c.props(descNtf, "GattDescriptor1"), map[string]string{
		"Handle": "23", "UUID": "00002902-0000-1000-8000-00805f9b34fb", "Characteristic": charNtf, "Value": "",
	})
	check(t, "extended properties", c.get(charRel+"/desc0021", "GattDescriptor1", "Value"), "0100")
	for _, p := range []struct{ path, iface string }{{svc, "GattService1"}, {charAll, "GattCharacteristic1"}, {descUser, "GattDescriptor1"}} {
		for name := range c.props(p.path, p.iface) {
			c.set(p.path, p.iface, name, "x")
			c.want("Set: DBus.Error.PropertyReadOnly: Property '" + name + "' is not writable")
		}
	}
}

func TestReadValue(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	long := bytes.Repeat([]byte{7}, 300)
	beyond := fmt.Sprintf("%x", long[100:])
	for _, tt := range []struct {
		name    string
		options options
		value   []byte
		lines   []string
	}{
		{"plain", options{}, []byte("hi"), []string{charRW + " GattCharacteristic1 Value=6869", "ReadValue: ok 6869"}},
		{"unchanged", options{}, []byte("hi"), []string{charRW + " GattCharacteristic1 Value=6869", "ReadValue: ok 6869"}},
		{"empty", options{}, []byte{}, []string{charRW + " GattCharacteristic1 Value=", "ReadValue: ok "}},
		{"other option", opt("device", fullPath("hci0/dev1")), []byte{1}, []string{charRW + " GattCharacteristic1 Value=01", "ReadValue: ok 01"}},
		{"offset 0", opt("OFFSET", uint16(0)), []byte{1}, []string{charRW + " GattCharacteristic1 Value=01", "ReadValue: ok 01"}},
		{"offset in a short value", opt("offset", uint16(1)), []byte{1, 2}, []string{"ReadValue: Failed: Operation failed with ATT error: 0x0b"}},
		{"offset at the end", opt("offset", uint16(2)), []byte{1, 2}, []string{"ReadValue: Failed: Operation failed with ATT error: 0x0b"}},
		{"offset beyond", opt("offset", uint16(3)), []byte{1, 2}, []string{"ReadValue: InvalidArguments: Invalid offset"}},
		{"offset in a long value", opt("offset", uint16(100)), long, []string{charRW + " GattCharacteristic1 Value=" + beyond, "ReadValue: ok " + beyond}},
		{"offset of another type", opt("offset", uint32(0)), nil, []string{"ReadValue: " + invalidArguments}},
		{"type of another type", opt("type", byte(0)), nil, []string{"ReadValue: " + invalidArguments}},
	} {
		c.send(charRW, char1+"ReadValue", tt.options)
		if tt.value != nil {
			h.links.Next(t, "Read 0012").Answer(tt.value...)
		}
		if got := c.lines(); fmt.Sprint(got) != fmt.Sprint(tt.lines) {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.lines)
		}
	}
	h.links.None(t)
}

func TestReadsAreShared(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	a, b := h.client(), h.client()
	h.connected(a, database(customService()))
	b.lines()
	for _, tt := range []struct{ path, method, op string }{
		{charRW, char1, "Read 0012"}, {descUser, desc1, "ReadDescriptor 001e"},
	} {
		a.send(tt.path, tt.method+"ReadValue", options{})
		op := h.links.Next(t, tt.op)
		a.send(tt.path, tt.method+"ReadValue", opt("offset", uint16(1)))
		b.send(tt.path, tt.method+"ReadValue", options{})
		a.want("ReadValue: " + inProgress)
		b.lines()
		op.Answer(5)
		iface := tt.method[:len(tt.method)-1]
		a.want(tt.path+" "+iface+" Value=05", "ReadValue: ok 05")
		b.want(tt.path+" "+iface+" Value=05", "ReadValue: ok 05")
	}
	h.links.None(t)
}

func TestTooManyShareARead(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	for range 1024 {
		c.send(charRW, char1+"ReadValue", options{})
	}
	c.want()
	c.sendAs("one more", charRW, char1+"ReadValue", options{})
	c.want("one more: " + inProgress)
	h.links.Next(t, "Read 0012").Answer(1)
	check(t, "lines", len(c.lines()), 1025)
}

// TestAttErrors is the table of bluetoothd 5.87; every other code has its number.
func TestAttErrors(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	c.send("bluez", "AgentManager1.RegisterAgent", fullPath("/a"), "") // without one, the link would be dropped
	c.lines()
	want := map[error]string{
		ble.ErrNotConnected: "Failed: Operation failed with ATT error: 0x0e", ble.ErrTimeout: "Failed: Operation failed with ATT error: 0x0e",
		ble.ErrCanceled: "Failed: Operation failed with ATT error: 0x0e", ble.ErrNotSupported: notSupported,
		errors.New("x"): "Failed: Operation failed", ble.ATTError(0x02): "NotPermitted: Read not permitted",
		ble.ATTError(0x03): "NotPermitted: Write not permitted", ble.ATTError(0x05): "NotPermitted: Not paired",
		ble.ATTError(0x0f): "NotPermitted: Not paired", ble.ATTError(0x0c): "NotPermitted: Not paired",
		ble.ATTError(0x07): "InvalidArguments: Invalid offset", ble.ATTError(0x0d): "InvalidArguments: Invalid Length",
		ble.ATTError(0x08): "NotAuthorized: Operation Not Authorized", ble.ATTError(0x06): notSupported,
	}
	for code := 1; code < 256; code++ {
		if e := ble.ATTError(code); want[e] == "" {
			want[e] = fmt.Sprintf("Failed: Operation failed with ATT error: 0x%02x", code)
		}
	}
	for err, text := range want {
		c.send(charRW, char1+"ReadValue", options{})
		h.links.Next(t, "Read 0012").End(fmt.Errorf("wrapped: %w", err))
		c.want("ReadValue: " + text)
	}
	for _, err := range []error{ble.ATTError(0x0d), ble.ATTError(0x83)} {
		c.send(charRW, char1+"WriteValue", []byte{1}, options{})
		h.links.Next(t, "Write 0012 [1]").End(err)
		c.want("WriteValue: " + want[err])
		c.send(descUser, desc1+"WriteValue", []byte{1}, options{})
		h.links.Next(t, "WriteDescriptor 001e [1]").End(err)
		c.want("WriteValue: " + want[err])
	}
}

// TestInsecureWithoutAgent: nobody could pair, so the link is dropped, as by bluetoothd.
func TestInsecureWithoutAgent(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	c.send(charRW, char1+"ReadValue", options{})
	h.links.Next(t, "Read 0012").End(ble.ATTEncryption)
	c.want("ReadValue: NotPermitted: Not paired")
	h.links.Next(t, "Disconnect")
}

func TestWriteValue(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService(), gapService()))
	h.links.Next(t, "Read 0005").End(ble.ErrTimeout) // the shim's own
	one := []byte{1}
	typ := func(s string) options { return opt("type", s) }
	for _, tt := range []struct {
		name, path string
		value      []byte
		options    options
		op, want   string // op "": none
	}{
		{"default on write", charRW, one, options{}, "Write 0012 [1]", "ok"},
		{"default on command", charCmd, one, options{}, "WriteCommand 0014 [1]", "ok"},
		{"default on both", charAll, one, options{}, "Write 001c [1]", "ok"},
		{"default on reliable", charRel, one, options{}, "Write 0020 [1]", "ok"},
		{"default on neither", charNtf, one, options{}, "", notSupported},
		{"request whatever the flags", charNtf, one, typ("request"), "Write 0016 [1]", "ok"},
		{"command whatever the flags", charRW, one, typ("command"), "WriteCommand 0012 [1]", "ok"},
		{"reliable whatever the flags", charRW, one, typ("reliable"), "Write 0012 [1]", "ok"},
		{"unknown type", charRW, one, typ("nonsense"), "", notSupported},
		{"empty type", charRW, one, typ(""), "", notSupported},
		{"type of another type", charRW, one, opt("type", byte(1)), "", invalidArguments},
		{"offset of another type", charRW, one, opt("offset", int32(0)), "", invalidArguments},
		{"unknown option", charRW, one, opt("nonsense", true), "Write 0012 [1]", "ok"},
		{"offset 0", charRW, one, opt("offset", uint16(0)), "Write 0012 [1]", "ok"},
		{"offset 1", charRW, one, opt("offset", uint16(1)), "", "InvalidArguments: Invalid offset"},
		{"command with offset", charCmd, one, opt("offset", uint16(1)), "", notSupported},
		{"nothing", charRW, []byte{}, options{}, "Write 0012 []", "ok"},
		{"nothing, reliably", charRW, []byte{}, typ("reliable"), "", initiate},
		{"513 octets", charRW, make([]byte, 513), options{}, "", "InvalidArguments: Invalid Length"},
		{"command of MTU-3", charCmd, make([]byte, 244), options{}, "WriteCommand 0014 " + fmt.Sprint(make([]byte, 244)), "ok"},
		{"command that is too long", charCmd, make([]byte, 245), options{}, "", initiate},
		{"claimed service", charName, one, options{}, "", "NotAuthorized: Operation Not Authorized"},
		{"claimed service, bad options", charName, one, opt("type", byte(1)), "", invalidArguments},
	} {
		c.send(tt.path, char1+"WriteValue", tt.value, tt.options)
		if tt.op != "" {
			h.links.Next(t, tt.op).End(nil)
		}
		if got := c.lines(); len(got) != 1 || got[0] != "WriteValue: "+tt.want { // and no signal
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	c.send(charCmd, char1+"WriteValue", one, options{})
	h.links.Next(t, "WriteCommand 0014 [1]").End(errors.New("full"))
	c.want("WriteValue: " + initiate)
	h.links.None(t)
}

func TestWriteInProgress(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	a, b := h.client(), h.client()
	h.connected(a, database(customService()))
	b.lines()
	a.send(charAll, char1+"WriteValue", []byte{1}, options{})
	op := h.links.Next(t, "Write 001c [1]")
	b.send(charAll, char1+"WriteValue", []byte{2}, opt("type", byte(0)))
	b.want("WriteValue: " + inProgress) // before the arguments are looked at
	a.send(charRW, char1+"WriteValue", []byte{3}, options{})
	h.links.Next(t, "Write 0012 [3]").End(nil) // another characteristic
	a.send(descUser, desc1+"WriteValue", []byte{4}, options{})
	dop := h.links.Next(t, "WriteDescriptor 001e [4]")
	b.send(descUser, desc1+"WriteValue", []byte{5}, options{})
	b.want("WriteValue: " + inProgress)
	a.want("WriteValue: ok")
	op.End(nil)
	dop.End(nil)
	a.want("WriteValue: ok", "WriteValue: ok")
	a.send(charAll, char1+"WriteValue", []byte{1}, options{})
	h.links.Next(t, "Write 001c [1]").End(nil)
	a.want("WriteValue: ok")
}

func TestDescriptors(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	c.send(descUser, desc1+"ReadValue", options{})
	h.links.Next(t, "ReadDescriptor 001e").Answer(1, 2)
	c.want(descUser+" GattDescriptor1 Value=0102", "ReadValue: ok 0102")
	for _, tt := range []struct {
		name    string
		value   []byte
		options options
		want    string
	}{
		{"offset", []byte{1}, opt("offset", uint16(1)), "InvalidArguments: Invalid offset"},
		{"too long", make([]byte, 513), options{}, "InvalidArguments: Invalid Length"},
		{"bad option", nil, opt("offset", "x"), invalidArguments},
	} {
		_, e := c.call(descUser, desc1+"WriteValue", tt.value, tt.options)
		check(t, tt.name, e, tt.want)
	}
	_, e := c.call(descUser, desc1+"ReadValue", opt("offset", "x"))
	check(t, "bad option", e, invalidArguments)
	_, e = c.call(descNtf, desc1+"WriteValue", []byte{1, 0}, options{})
	check(t, "CCCD", e, "NotPermitted: Write not permitted")
	c.send(descUser, desc1+"WriteValue", []byte{1}, opt("type", "command")) // type is ignored
	h.links.Next(t, "WriteDescriptor 001e [1]").End(nil)
	c.want("WriteValue: ok")
	h.links.None(t)
}

// TestGattWithoutLink: the objects stay, and say so.
func TestGattWithoutLink(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.connected(c, database(customService()))
	c.send(charRW, char1+"ReadValue", options{})
	c.send(charAll, char1+"WriteValue", []byte{1}, options{})
	read, write := h.links.Next(t, "Read 0012"), h.links.Next(t, "Write 001c [1]")
	h.shim.LinkDown(dev1, ble.DisconnectTimeout)
	read.End(ble.ErrNotConnected)
	write.End(ble.ErrNotConnected)
	c.want(append(downLines("Timeout", "Connection timeout"), "ReadValue: Failed: Operation failed with ATT error: 0x0e",
		"WriteValue: Failed: Operation failed with ATT error: 0x0e")...)
	for _, tt := range []struct {
		path, method string
		args         []any
		want         string
	}{
		{charRW, char1 + "ReadValue", []any{options{}}, notConnected},
		{charRW, char1 + "WriteValue", []any{[]byte{1}, options{}}, notConnected},
		{charRW, char1 + "WriteValue", []any{[]byte{1}, opt("type", byte(0))}, notConnected},
		{charCmd, char1 + "AcquireWrite", []any{options{}}, notConnected},
		{charNtf, char1 + "AcquireNotify", []any{options{}}, notConnected},
		{charRW, char1 + "AcquireNotify", []any{options{}}, notConnected},
		{descUser, desc1 + "ReadValue", []any{options{}}, notConnected},
		{descUser, desc1 + "WriteValue", []any{[]byte{1}, options{}}, notConnected},
		{charRW, char1 + "StartNotify", nil, notSupported},
		{charNtf, char1 + "StopNotify", nil, "Failed: No notify session started"},
	} {
		_, e := c.call(tt.path, tt.method, tt.args...)
		check(t, tt.path+" "+tt.method, e, tt.want)
	}
	h.links.None(t)
}
