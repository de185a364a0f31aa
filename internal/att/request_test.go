package att

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
)

// plain is a peripheral with one service of each length of UUID.
func plain() []ble.Service {
	long := ble.UUID{0xa5, 0xa5, 1, 0, 0x10, 0, 0x40, 0, 0x80, 0, 0, 0x80, 0x5f, 0x9b, 0, 1}
	c := char(22, 0xfff1, ble.PropRead|ble.PropWrite|ble.PropNotify|ble.PropIndicate)
	c.UUID = long
	return []ble.Service{
		service(1, 0x1800, char(3, 0x2a00, ble.PropRead), char(5, 0x2a01, ble.PropRead)),
		service(10, 0x180f, char(12, 0x2a19, ble.PropRead|ble.PropNotify), char(15, 0x2a1b, ble.PropWriteWithoutResponse)),
		{Handle: 20, UUID: long, Characteristics: []ble.Characteristic{c}},
		{Handle: 30, UUID: ble.UUID32(0x12345678)},
	}
}

const longWire = "01009b5f80000080004000100001a5a5"

// TestTableRequests: what is answered without the peripheral.
func TestTableRequests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ request, want string }{
		"services":                           {"10 0100 ffff 0028", "11 06 0100 0900 0018 0a00 1300 0f18"},
		"services by a long type":            {"10 0100 ffff fb349b5f80000080001000000028 0000", "11 06 0100 0900 0018 0a00 1300 0f18"},
		"one with a long UUID":               {"10 1400 ffff 0028", "11 14 1400 1d00 " + longWire + " 1e00 ffff fb349b5f8000008000100000 78563412"},
		"from the middle of one":             {"10 0200 0900 0028", "01 10 0200 0a"},
		"secondary services":                 {"10 0100 ffff 0128", "01 10 0100 0a"},
		"a type that groups nothing":         {"10 0100 ffff 0328", "01 10 0100 10"},
		"handle 0":                           {"10 0000 ffff 0028", "01 10 0000 01"},
		"a range backwards":                  {"10 0500 0400 0028", "01 10 0500 01"},
		"a type of three bytes":              {"10 0100 ffff 002800", "01 10 0000 04"},
		"declarations":                       {"08 0100 0900 0328", "09 07 0200 02 0300 002a 0400 02 0500 012a"},
		"services by type":                   {"08 0100 1300 0028", "09 04 0100 0018 0a00 0f18"},
		"included services":                  {"08 0100 ffff 0228", "01 08 0100 0a"},
		"a type that is not there":           {"08 0100 ffff 3a2b", "01 08 0100 0a"},
		"a type, handle 0":                   {"08 0000 ffff 0328", "01 08 0000 01"},
		"types":                              {"04 0a00 0f00", "05 01 0a00 0028 0b00 0328 0c00 192a 0d00 0229 0e00 0328 0f00 1b2a"},
		"types until one of another length":  {"04 1400 ffff", "05 01 1400 0028 1500 0328"},
		"a long type":                        {"04 1600 1700", "05 02 1600 " + longWire},
		"nothing there":                      {"04 1f00 ffff", "01 04 1f00 0a"},
		"types backwards":                    {"04 0500 0400", "01 04 0500 01"},
		"services by UUID":                   {"06 0100 ffff 0028 0f18", "07 0a00 1300"},
		"services by UUID, by the long form": {"06 0100 ffff 0028 fb349b5f8000008000100000 0f180000", "07 0a00 1300"},
		"services by a long UUID":            {"06 0100 ffff 0028 " + longWire, "07 1400 1d00"},
		"services by a UUID that none has":   {"06 0100 ffff 0028 0a18", "01 06 0100 0a"},
		"services by no UUID":                {"06 0100 ffff 0028 0f", "01 06 0100 0a"},
		"values of another type":             {"06 0100 ffff 0328 0f18", "01 06 0100 0a"},
		"a service":                          {"0a 0a00", "0b 0f18"},
		"a declaration":                      {"0a 0b00", "0b 12 0c00 192a"},
		"a part of a declaration":            {"0c 1500 0300", "0d " + longWire},
		"beyond the end of a declaration":    {"0c 0b00 0600", "01 0c 0b00 07"},
		"at the end of a declaration":        {"0c 0b00 0500", "0d"},
		"a handle that does not exist":       {"0a 1000", "01 0a 1000 01"},
		"handle 0 by Read":                   {"0a 0000", "01 0a 0000 01"},
		"several declarations":               {"0e 0a00 0b00", "0f 0f18 12 0c00 192a"},
		"several, one does not exist":        {"0e 0a00 1000 0b00", "01 0e 1000 01"},
		"several of one":                     {"0e 0a00", "01 0e 0000 04"},
		"several of one and a half":          {"0e 0a00 0b", "01 0e 0000 04"},
		"several with lengths":               {"20 0a00 0b00", "01 20 0000 06"},
		"a write of a declaration":           {"12 0b00 01", "01 12 0b00 03"},
		"a write of a service":               {"12 0a00 01", "01 12 0a00 03"},
		"a write of what does not exist":     {"12 1000 01", "01 12 1000 01"},
		"a part of a declaration, to write":  {"16 0b00 0000 01", "01 16 0b00 03"},
		"a part of what does not exist":      {"16 1000 0000 01", "01 16 1000 01"},
		"execute nothing":                    {"18 01", "19"},
		"cancel nothing":                     {"18 00", "19"},
		"execute something else":             {"18 02", "01 18 0000 04"},
		"an opcode that does not exist":      {"42", ""},
		"a request that does not exist":      {"3e 01", "01 3e 0000 06"},
		"a request that is too short":        {"0a 01", "01 0a 0000 04"},
		"a request that is too long":         {"0a 0100 00", "01 0a 0000 04"},
		"the opcode alone":                   {"08", "01 08 0000 04"},
		"longer than the MTU":                {"12 0300" + strings.Repeat("00", 48), "01 12 0000 04"},
		"a response":                         {"0b 0102", ""},
		"an error":                           {"01 0a 0100 01", ""},
		"a notification":                     {"1b 0100 01", ""},
		"no opcode":                          {"", ""},
		"a confirmation of nothing":          {"1e", ""},
		"a signed write":                     {"d2 0300 01 000000000000000000000000", ""},
		"a command that does not exist":      {"7e 01", ""},
		"a command of a declaration":         {"52 0b00 01", ""},
		"a command of what does not exist":   {"52 1000 01", ""},
		"a command that is too short":        {"52 10", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := resolved(t, 50, plain()...)
			r.taken = 0
			r.host(c.request)
			if c.want == "" {
				r.want()
			} else {
				r.want(c.want)
			}
			r.ask()
			if r.taken != 1 || len(r.ended) != 0 {
				t.Errorf("taken %d times, ended %v", r.taken, r.ended)
			}
		})
	}
}

// TestMTU: the smaller of both is used, from the answer on, and no PDU is longer.
func TestMTU(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		theirs, proxys int
		answer         string
		used           int
	}{{517, 247, "03f700", 247}, {100, 247, "03f700", 100}, {5, 247, "03f700", 23}, {517, 0, "031700", 23}, {0xffff, 0xffff, "030502", 517}} {
		r := newRig(t, Seen{})
		r.s.Resolved(database(plain()...), c.proxys)
		r.answers = func(ble.Operation) ([]byte, error) { return make([]byte, 600), nil }
		r.exchange(fmt.Sprintf("02%02x%02x", byte(c.theirs), byte(c.theirs>>8)), c.answer)
		r.host("0a0300")
		if n := len(r.sent[0]) / 2; n != min(c.used, 513) {
			t.Errorf("%+v: a read gives %d bytes", c, n)
		}
		r.sent = nil
		r.host("080100ffff002a")
		if n := len(r.sent[0]) / 2; n != min(c.used, 257) {
			t.Errorf("%+v: a read by type gives %d bytes", c, n)
		}
		r.sent = nil
		r.host("0e03000500")
		if n := len(r.sent[0]) / 2; n != c.used {
			t.Errorf("%+v: a read of two gives %d bytes", c, n)
		}
	}
}

// TestLists: no list is longer than the MTU, and as long as it can be.
func TestLists(t *testing.T) {
	t.Parallel()
	var chars []ble.Characteristic
	for h := uint16(3); h < 300; h += 2 {
		chars = append(chars, char(h, h, ble.PropRead))
	}
	var many []ble.Service
	for h := uint16(300); h < 600; h++ {
		many = append(many, service(h, 0x180f))
	}
	for mtu := 23; mtu <= 517; mtu++ {
		r := resolved(t, mtu, append(many, service(1, 0x1800, chars...))...)
		for request, entry := range map[string]int{
			"080100ff000328": 7, "10010000ff0028": 6, "102c01ffff0028": 6, "04010000ff": 4, "062c01ffff00280f18": 4,
		} {
			r.host(request)
			n, header := len(r.sent[0])/2, 2
			if request[:2] == "06" {
				header = 1
			}
			one := request[:2] == "10" && request[2] == '0'
			if n > mtu || !one && n != header+(min(mtu, header+300*entry)-header)/entry*entry {
				t.Errorf("MTU %d: %s gives %d bytes", mtu, request, n)
			}
			r.sent = nil
		}
	}
}

// TestUnsoundDatabase: of what a damaged cache may hold the table has what fits, and no handle twice.
func TestUnsoundDatabase(t *testing.T) {
	t.Parallel()
	const read = ble.PropRead
	table := newTable(database(
		service(10, 0x180f, char(12, 0x2a19, read), char(12, 0x2a1a, read), char(13, 0x2a1b, read), char(21, 0x2a1c, read)),
		service(20, 0x1800, char(0, 0x2a00, read), char(1, 0x2a00, read), char(5, 0x2a00, read), char(21, 0x2a00, read),
			ble.Characteristic{ValueHandle: 0xffff, Descriptors: []ble.Descriptor{{Handle: 0}, {Handle: 5}, {Handle: 0xffff}}}),
		service(0, 0x1801), service(20, 0x1802)))
	var got []string
	for _, a := range table.attributes {
		got = append(got, fmt.Sprintf("%d:%v", a.handle, a.uuid)[:len(fmt.Sprint(a.handle))+9])
	}
	want := "10:00002800 11:00002803 12:00002a19 20:00002800 65534:00002803 65535:00000000"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("the table is %s, want %s", s, want)
	}
}

// TestErrors: what the peripheral refuses is refused with its own words and the right handle.
func TestErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		code string // empty: no answer
	}{
		"of ATT":                       {ble.ATTReadNotPermitted, "02"},
		"authentication":               {ble.ATTAuthentication, "05"},
		"encryption":                   {fmt.Errorf("cannot read: %w", ble.ATTEncryption), "0f"},
		"of the application":           {ble.ATTError(0x80), "80"},
		"of a profile":                 {ble.ATTError(0xfd), "fd"},
		"of the proxy's stack":         {ble.ATTError(0x85), "0e"},
		"no answer":                    {ble.ErrTimeout, "0e"},
		"anything else":                {errors.New("anything else"), "0e"},
		"no error that there could be": {ble.ATTError(0), "0e"},
		"the link is gone":             {ble.ErrNotConnected, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for request, handle := range map[string]string{"0a0300": "0300", "0c03000100": "0300", "0801000900012a": "0500",
				"0e01000300": "0300", "12160001": "1600", "120d000100": "0d00"} {
				r := resolved(t, 50, plain()...)
				r.answers = func(ble.Operation) ([]byte, error) { return nil, c.err }
				r.host(request)
				if c.code == "" {
					r.want()
					continue
				}
				r.want("01" + request[:2] + handle + c.code)
			}
			r := resolved(t, 50, plain()...)
			r.answers = func(ble.Operation) ([]byte, error) { return nil, c.err }
			r.host("1616000000aa")
			r.sent = nil
			r.host("1801")
			if c.code != "" {
				r.want("01181600" + c.code)
				r.exchange("1801", "19") // what was prepared is gone
			}
		})
	}
}

// TestOneRequestAtATime: a host that does not wait for an answer loses the link, and hears nothing more.
func TestOneRequestAtATime(t *testing.T) {
	t.Parallel()
	r := resolved(t, 50, plain()...)
	r.manual = true
	r.host("0a0300")
	r.host("520f0001") // commands and confirmations are no requests
	r.host("1e")
	if len(r.ended) != 0 {
		t.Fatal("ended for a command")
	}
	r.host("0a0500")
	if len(r.ended) != 1 || r.ended[0] != 0x13 {
		t.Fatalf("ended %x", r.ended)
	}
	r.run()
	r.host("0a0500")
	r.s.Notified(12, []byte{1})
	r.want()
}

// TestNoAnswer: the host is answered before it gives up the bearer, and what the peripheral says later concerns nobody.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	r := resolved(t, 50, plain()...)
	r.manual = true
	r.host("0a0300")
	r.pass(answerWait - time.Second)
	r.want()
	r.pass(time.Second)
	r.want("010a00000e")
	r.host("0a0500")
	late := r.pending[0]
	r.pending = r.pending[1:]
	late()
	r.want()
	r.answers = func(ble.Operation) ([]byte, error) { return []byte{7}, nil }
	r.run()
	r.want("0b07")
}

// TestHeld: what comes before the database waits for it, in order; a request that waited too long is not answered
// twice.
func TestHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t, Seen{})
	r.host("520f0001")
	r.host("520f0002")
	r.host("020502")
	r.s.Notified(12, []byte{1})
	r.s.DatabaseChanged(database())
	if r.want(); r.taken != 1 {
		t.Errorf("taken %d, want that of the request", r.taken)
	}
	r.s.Resolved(database(plain()...), 100)
	r.want("036400")
	r.run()
	r.ask("WriteCommand 000f 01", "WriteCommand 000f 02")
	if r.taken != 3 {
		t.Errorf("taken %d, want 3", r.taken)
	}

	r = newRig(t, Seen{})
	r.host("0a0300")
	r.pass(answerWait)
	r.want("010a00000e")
	r.host("0a0500")
	r.s.Resolved(database(plain()...), 100)
	r.run()
	r.ask("Read 0005")
	r.want("0b")

	r = newRig(t, Seen{})
	for range 10 * maxHeld {
		r.host("520f0001")
	}
	if len(r.s.held) > maxHeld || r.taken != 9*maxHeld {
		t.Errorf("%d held, %d taken", len(r.s.held), r.taken)
	}
	r.s.Close()
	r.s.Resolved(database(plain()...), 100)
	r.ask()
}

// TestClosed: a link that ended answers nothing more.
func TestClosed(t *testing.T) {
	t.Parallel()
	r := resolved(t, 50, plain()...)
	r.manual = true
	r.host("520f0001")
	r.host("12160001")
	r.host("120d000100")
	r.ended, r.taken = nil, 0
	r = resolved(t, 50, plain()...)
	r.manual = true
	r.host("520f0001")
	r.host("0a0300")
	r.s.Close()
	r.s.Close()
	taken := r.taken
	r.run()
	r.pass(time.Minute)
	r.host("0a0300")
	r.s.Resolved(database(plain()...), 100)
	r.s.DatabaseChanged(database())
	r.s.Notified(12, []byte{1})
	r.s.Unsubscribed(12)
	r.want()
	if r.taken != taken || len(r.ended) != 0 || len(r.asked) != 2 {
		t.Errorf("taken %d, ended %v, asked %v", r.taken-taken, r.ended, r.asked)
	}
}

// TestCommands: a Write Command is taken when the proxy took it, in order, and there is a bound to those that wait.
func TestCommands(t *testing.T) {
	t.Parallel()
	r := resolved(t, 50, plain()...)
	r.manual, r.taken = true, 0
	for i := range maxCommands {
		r.host("520f00" + hex.EncodeToString([]byte{byte(i)}))
	}
	if r.taken != 0 {
		t.Errorf("%d taken before the proxy did", r.taken)
	}
	r.host("520f00ff") // one too many
	if r.taken != 1 || len(r.asked) != maxCommands {
		t.Errorf("%d taken, %d asked", r.taken, len(r.asked))
	}
	r.run()
	if r.taken != maxCommands+1 {
		t.Errorf("%d taken, want %d", r.taken, maxCommands+1)
	}
	r.asked = nil
	r.host("520d000100")
	r.run()
	r.ask("WriteDescriptor 000d 0100")
	r.want()
}
