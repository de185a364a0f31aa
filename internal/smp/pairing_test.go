package smp

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"

	"pgregory.net/rapid"
)

// Pairing Requests as recorded.
var (
	bluetoothd = []byte{0x01, 0x04, 0x00, 0x0d, 0x10, 0x05, 0x07}
	noble      = []byte{0x01, 0x03, 0x00, 0x01, 0x10, 0x00, 0x01}
	gatttool   = []byte{0x01, 0x04, 0x00, 0x0c, 0x10, 0x00, 0x02}
)

// TestRecordedSecureConnections has the Responder's random values from the vectors: every PDU is as the prototype's.
func TestRecordedSecureConnections(t *testing.T) {
	t.Parallel()
	v := readVectors(t).SMP.SC
	g := newRig(t)
	g.cfg.Rand = script(unhex(t, v.PrivateController), reversed(unhex(t, v.Nb)))
	g.link()
	g.host(unhex(t, v.Request)...)
	g.want(v.Response)
	g.host(append([]byte{codePublicKey}, unhex(t, v.PublicHost)...)...)
	g.want("0c"+v.PublicController, "03"+v.Confirm)
	g.host(append([]byte{codeRandom}, unhex(t, v.Na)...)...)
	g.want("04" + v.Nb)
	g.host(append([]byte{codeDHKeyCheck}, unhex(t, v.Ea)...)...)
	g.want("0d" + v.Eb)
	key := Key{LTK: ble.LTK(unhex(t, v.LTK)), Secure: true}
	g.encrypt(key)
	g.want("status 00")
	if g.keys[vectorDevice.Address] != key {
		t.Errorf("kept %+v", g.keys)
	}
}

// TestRecordedLegacy is the recorded legacy pairing with a real kernel. That prototype also distributed an identity,
// which we do not: the response differs, and so would the confirm values; so they are checked with its response in
// crypto_test.go, and the order of what is sent here.
func TestRecordedLegacy(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	h := initiator{rig: g, request: noble}
	stk := h.pair()
	g.encrypt(stk)
	g.want("status 00", g.sent[1], g.sent[2])
	if k := g.keys[vectorDevice.Address]; k.Secure || k.EDIV == 0 || k.Rand == [8]byte{} || k.LTK == stk.LTK {
		t.Errorf("kept %+v", k)
	}
}

// TestResponses: what each host is answered.
func TestResponses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request []byte
		want    string
	}{
		"bluetoothd":                        {bluetoothd, "02030009100000"},
		"noble":                             {noble, "02030001100001"},
		"gatttool does not bond":            {gatttool, "02030008100000"},
		"legacy, both ways":                 {[]byte{1, 4, 0, 5, 16, 5, 7}, "02030001100001"},
		"legacy without bonding":            {[]byte{1, 4, 0, 0, 16, 0, 1}, "02030000100000"},
		"keypress and CT2 are not for us":   {[]byte{1, 4, 0, 0x3d, 16, 0, 0}, "02030009100000"},
		"a legacy host with our data":       {[]byte{1, 4, 1, 1, 16, 0, 0}, "02030001100000"},
		"a host with our data":              {[]byte{1, 4, 1, 9, 16, 0, 0}, "0502"},
		"short keys":                        {[]byte{1, 4, 0, 9, 7, 0, 0}, "02030009100000"},
		"too short keys":                    {[]byte{1, 4, 0, 9, 6, 0, 0}, "0506"},
		"too long keys":                     {[]byte{1, 4, 0, 9, 17, 0, 0}, "050a"},
		"a capability that does not exist":  {[]byte{1, 5, 0, 9, 16, 0, 0}, "050a"},
		"a bonding that does not exist":     {[]byte{1, 4, 0, 2, 16, 0, 0}, "050a"},
		"an OOB flag that does not exist":   {[]byte{1, 4, 2, 1, 16, 0, 0}, "050a"},
		"a request of another length":       {[]byte{1, 4, 0}, "050a"},
		"a code that does not exist":        {[]byte{0x0f}, "0507"},
		"a Security Request":                {[]byte{0x0b, 1}, "0507"},
		"a Pairing Response":                {[]byte{2, 3, 0, 9, 16, 0, 0}, "0507"},
		"a confirm value before a request":  {append([]byte{3}, make([]byte, 16)...), ""},
		"keys that nobody asked for":        {append([]byte{6}, make([]byte, 16)...), ""},
		"a failure of nothing":              {[]byte{5, 8}, ""},
		"a failure of nothing, too long":    {[]byte{5, 8, 8}, ""},
		"nothing":                           {nil, ""},
		"a public key of the wrong length":  {[]byte{0x0c, 1, 2}, "050a"},
		"a check value of the wrong length": {[]byte{0x0d}, "050a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.host(c.request...)
			if c.want == "" {
				g.want()
				return
			}
			g.want(c.want)
		})
	}
}

// TestNotPairedWithoutProxy: the host is told what the proxy said, and is never paired without it.
func TestNotPairedWithoutProxy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"the proxy cannot pair":                     {fmt.Errorf("no: %w", ble.ErrNotSupported), "0505"},
		"a passkey is wanted":                       {&ble.PairError{Reason: 0x01}, "0501"},
		"authentication is wanted":                  {&ble.PairError{Reason: 0x03}, "0503"},
		"the peripheral does not pair":              {&ble.PairError{Reason: 0x05}, "0505"},
		"repeated attempts at the peripheral":       {&ble.PairError{Reason: 0x09}, "0509"},
		"a passkey is wanted, by number of ESP":     {&ble.PairError{Reason: 78}, "0501"},
		"authentication is wanted, number of ESP":   {&ble.PairError{Reason: 80}, "0503"},
		"a number that means nothing":               {&ble.PairError{Reason: 0x61}, "0508"},
		"a negative number":                         {&ble.PairError{Reason: -7}, "0508"},
		"no answer":                                 {ble.ErrTimeout, "0508"},
		"called off by another party":               {ble.ErrCanceled, "0508"},
		"the link is gone, of which the host hears": {ble.ErrNotConnected, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.paired = c.err
			g.host(bluetoothd...)
			if c.want == "" {
				g.want()
				return
			}
			g.want(c.want)
			g.encrypt(Key{})
			g.want("status 06")
		})
	}
}

// TestPairsAndEncryptsAgain is everything from the request to encryption on a later link, with all that a host may ask
// for.
func TestPairsAndEncryptsAgain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		g := newRig(t)
		request := []byte{codeRequest, byte(rapid.IntRange(0, 4).Draw(rt, "capability")), 0,
			byte(rapid.IntRange(0, 1).Draw(rt, "bonding") | rapid.IntRange(0, 1).Draw(rt, "MITM")<<2 | rapid.IntRange(0, 1).Draw(rt, "SC")<<3),
			byte(rapid.IntRange(7, 16).Draw(rt, "size")), rapid.Byte().Draw(rt, "init"), rapid.Byte().Draw(rt, "resp")}
		g.cfg.Initiator = Peer{ble.Address(rapid.Uint64().Draw(rt, "host") & (1<<48 - 1)), ble.Random}
		g.link()
		h := initiator{rig: g, request: request}
		key := h.pair()
		g.encrypt(key)
		if g.sent[0] != "status 00" {
			rt.Fatalf("sent %q", g.sent)
		}
		bonds := request[3]&1 != 0
		secure := request[3]&8 != 0
		wantKey := bonds && (secure || request[6]&1 != 0)
		if kept, ok := g.keys[vectorDevice.Address]; ok != wantKey {
			rt.Fatalf("kept %v: %v", ok, kept)
		} else if ok && !secure {
			key = Key{LTK: ble.LTK(g.nextAfterStatus(codeEncryption)[1:])}
			id := g.next(codeCentralID)
			key.EDIV, key.Rand = uint16(id[1])|uint16(id[2])<<8, [8]byte(id[3:])
			for _, b := range key.LTK[request[4]:] {
				if b != 0 {
					rt.Fatalf("a key of %d bytes is %x", request[4], key.LTK[:])
				}
			}
			g.want()
		} else {
			g.want("status 00")
		}
		g.link()
		g.encrypt(key)
		if wantKey {
			g.want("status 00")
		} else {
			g.want("status 06")
		}
		other := key
		other.LTK[rapid.IntRange(0, 6).Draw(rt, "octet")] ^= 1
		g.encrypt(other)
		g.want("status 06")
	})
}

func (g *rig) nextAfterStatus(code byte) []byte {
	g.sent = g.sent[1:]
	return g.next(code)
}

// TestEncryptAgain: a right key is not enough, the proxy has to encrypt, too.
func TestEncryptAgain(t *testing.T) {
	t.Parallel()
	key := Key{LTK: ble.LTK{1, 2, 3}, EDIV: 7, Rand: [8]byte{5}}
	for name, c := range map[string]struct {
		given Key
		err   error
		want  string
		asked bool
	}{
		"right":                         {key, nil, "status 00", true},
		"another key":                   {Key{LTK: ble.LTK{1}, EDIV: 7, Rand: [8]byte{5}}, nil, "status 06", false},
		"another EDIV":                  {Key{LTK: key.LTK, EDIV: 8, Rand: key.Rand}, nil, "status 06", false},
		"another Rand":                  {Key{LTK: key.LTK, EDIV: 7}, nil, "status 06", false},
		"the peripheral lost its bond":  {key, &ble.PairError{Reason: 0x06}, "status 06", true},
		"another proxy that cannot":     {key, ble.ErrNotSupported, "status 1a", true},
		"no answer is no lost bond":     {key, ble.ErrTimeout, "status 22", true},
		"anything else is no lost bond": {key, ble.ErrCanceled, "status 1f", true},
		"the link is gone":              {key, ble.ErrNotConnected, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.keys[vectorDevice.Address], g.paired = key, errWait
			g.encrypt(c.given)
			pairs := g.take()
			if (len(pairs) == 1) != c.asked {
				t.Fatalf("the proxy was asked %d times", len(pairs))
			}
			for _, done := range pairs {
				g.want()
				done(c.err)
			}
			if c.want == "" {
				g.want()
				return
			}
			g.want(c.want)
		})
	}
}

// TestFalseValues: a host that does not know what it should is not paired.
func TestFalseValues(t *testing.T) {
	t.Parallel()
	spoil := func(code byte, at int) func([]byte) {
		return func(pdu []byte) {
			if pdu[0] == code {
				pdu[at] ^= 0x10
			}
		}
	}
	for name, c := range map[string]struct {
		request []byte
		spoil   func([]byte)
		want    string
	}{
		"a confirm value": {noble, spoil(codeConfirm, 3), "0504"},
		"a random value":  {noble, spoil(codeRandom, 3), "0504"},
		"a public key that is no point of the curve": {bluetoothd, spoil(codePublicKey, 40), "050a"},
		"a check value": {bluetoothd, spoil(codeDHKeyCheck, 16), "050b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			h := initiator{rig: g, request: c.request}
			if response := h.begin(); response[3]&authSecure != 0 {
				h.secure(response, c.spoil)
			} else {
				h.legacy(response, c.spoil)
			}
			g.want(c.want)
			if len(g.keys) != 0 {
				t.Error("a key was kept")
			}
			g.encrypt(Key{}) // nor is a key of zeros
			g.want("status 06")
		})
	}
}

// TestOutOfTurn: every PDU in every phase in which it has no business ends the pairing and nothing else; the next one
// works.
func TestOutOfTurn(t *testing.T) {
	t.Parallel()
	for code, n := range lengths {
		for name, request := range map[string][]byte{"legacy": noble, "secure": bluetoothd} {
			t.Run(fmt.Sprintf("%s, %02x", name, code), func(t *testing.T) {
				t.Parallel()
				g := newRig(t)
				h := initiator{rig: g, request: request}
				h.begin()
				pdu := make([]byte, n)
				pdu[0] = code
				for range 2 { // the first of two may be in turn
					g.host(pdu...)
				}
				g.sent = nil
				g.host(codeFailed, byte(ReasonUnspecified))
				g.want()
				g.encrypt(h.pair())
				if g.sent[0] != "status 00" {
					t.Errorf("sent %q", g.sent)
				}
			})
		}
	}
}

// TestKeyMustBeThatOfThisPairing: encryption with another key while pairing is under way ends it.
func TestKeyMustBeThatOfThisPairing(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	h := initiator{rig: g, request: bluetoothd}
	key := h.pair()
	g.encrypt(Key{LTK: ble.LTK{1}})
	g.want("status 06")
	g.encrypt(key)
	g.want("status 06")
}

// TestGivenUp: what the proxy says after the host gave up, or after the link ended, is of no interest to anybody.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end      func(*rig)
		canceled int
	}{
		"by the host":          {func(g *rig) { g.host(codeFailed, 0x08) }, 1},
		"by another request":   {func(g *rig) { g.host(bluetoothd...); g.want("0508") }, 1},
		"by the link's end":    {func(g *rig) { g.r.Close() }, 0},
		"by an encryption":     {func(g *rig) { g.encrypt(Key{}); g.want("status 06") }, 1},
		"by a code of nothing": {func(g *rig) { g.host(0x77); g.want("0507") }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.paired = errWait
			g.host(bluetoothd...)
			pairs := g.take()
			c.end(g)
			if g.canceled != c.canceled {
				t.Errorf("called off %d times, want %d", g.canceled, c.canceled)
			}
			pairs[0](nil)
			g.want()
		})
	}
}

// TestTimeouts: how long proxy and host may take.
func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.paired = errWait
		g.host(bluetoothd...)
		g.pass(pairWait - time.Second)
		g.want()
		g.pass(time.Second)
		g.want("0508")
		if g.canceled != 1 {
			t.Error("the proxy goes on pairing")
		}
		g.take()[0](nil)
		g.want()

		g.host(bluetoothd...)
		g.pass(pairWait - time.Second)
		g.take()[0](nil)
		g.want("02030009100000")
		g.pass(pduWait)
		g.want() // nothing: see 3.4 of the specification
		g.host(bluetoothd...)
		g.want()

		g.link()
		g.keys[vectorDevice.Address] = Key{LTK: ble.LTK{1}}
		g.encrypt(Key{LTK: ble.LTK{1}})
		g.encrypt(Key{LTK: ble.LTK{1}}) // one at a time
		g.want("status 0c")
		g.pass(pairWait)
		g.want("status 22")
		g.take()[0](nil)
		g.want()
	})
}

// TestRepeatedAttempts: a host whose pairing fails again and again has to wait, on other links too, and longer each
// time.
func TestRepeatedAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.paired = &ble.PairError{Reason: 0x03}
		for range freeAttempts {
			g.host(bluetoothd...)
			g.want("0503")
			g.link()
		}
		for wait := firstWait; wait < 2*longestWait; wait *= 2 {
			wait := min(wait, longestWait)
			g.host(bluetoothd...)
			g.want("0509")
			g.pass(wait - time.Millisecond)
			g.host(bluetoothd...)
			g.want("0509")
			g.pass(time.Millisecond)
			g.host(bluetoothd...)
			g.want("0503")
			g.link()
		}
		g.pass(2*longestWait + time.Second)
		g.host(bluetoothd...)
		g.host(bluetoothd...)
		g.want("0503", "0503")
		g.pass(longestWait)
		g.paired = nil
		h := initiator{rig: g, request: bluetoothd}
		g.encrypt(h.pair())
		g.want("status 00")
		if len(g.cfg.Attempts.of) != 0 {
			t.Error("a success is not forgiven")
		}
		for i := range 2 * maxAttempts {
			g.cfg.Attempts.failed(ble.Address(i))
		}
		if n := len(g.cfg.Attempts.of); n > maxAttempts {
			t.Errorf("%d peripherals are remembered", n)
		}
	})
}
