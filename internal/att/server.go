package att

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

const (
	// answerWait is how long the peripheral has for what a request asks: a host gives its server 30 s and then takes
	// the bearer for dead (Bluetooth Core, Vol 3 Part F, 3.3.3).
	answerWait = 25 * time.Second
	// confirmWait is how long a host has to confirm an indication (there).
	confirmWait = 30 * time.Second
	// maxHeld bounds the commands that wait for the database, maxCommands those that wait for the proxy. A controller
	// grants fewer packets.
	maxHeld     = 64
	maxCommands = 64
)

// Server serves one link of a host, from its beginning. Until [Server.Resolved] requests wait.
type Server struct {
	cfg    Config
	closed bool
	mtu    int // of this bearer, ble.MinMTU…ble.MaxMTU
	ours   int // that of the proxy's link, once table is known

	table *table // nil: not known yet
	// seen is what the host knows, changedSeen says that it is not kept yet. stale are those services of it that are no
	// more, and suspects the handles that may mean something else to the host.
	seen        Seen
	changedSeen bool
	stale       []ble.SeenService
	suspects    map[uint16]bool
	announce    bool // Service Changed is to follow the next answer

	held     []heldPDU // what came before the database, in order
	request  *request  // the one that is not answered
	commands int       // that the proxy did not take yet

	long       longValue
	prepared   []part
	cccds      map[uint16]uint16 // by value handle: what the host wrote on this link
	features   []byte            // Client Supported Features that the host wrote on this link, nil if none
	indication indication
}

// request is a request that is not answered yet.
type request struct {
	op   byte
	stop func()
}

// reasonRemote is the HCI reason of a link that the peripheral ended (Bluetooth Core, Vol 1 Part F, 2.19).
const reasonRemote = 0x13

// heldPDU is a request or a command that waits for the database.
type heldPDU struct {
	pdu   []byte
	req   *request // nil: a command
	taken func()
}

// New returns the server of a link that begins.
func New(cfg Config) *Server {
	return &Server{cfg: cfg, mtu: ble.MinMTU, seen: cfg.Seen, suspects: make(map[uint16]bool), cccds: make(map[uint16]uint16)}
}

// Close ends it with its link: nothing is sent or called any more.
func (s *Server) Close() {
	if s.closed {
		return
	}
	s.closed = true
	if s.request != nil {
		s.request.stop()
		s.request = nil
	}
	s.indication.end()
	s.forgetLong()
	s.held, s.prepared = nil, nil
}

// Resolved gives the server the database and the ATT_MTU of the proxy's link. What waited is answered.
func (s *Server) Resolved(db *ble.Database, mtu int) {
	if s.closed {
		return
	}
	s.ours = min(max(mtu, ble.MinMTU), ble.MaxMTU)
	s.adopt(db)
	s.announce = s.outOfDate() && s.mayIndicateChange()
	held := s.held
	s.held = nil
	for _, h := range held {
		switch {
		case s.closed:
			return
		case h.req == nil:
			s.command(h.pdu, h.taken)
		case h.req == s.request: // it did not wait too long
			s.serve(h.req, h.pdu)
		}
	}
}

// Receive takes one PDU of the host, which it does not keep. taken is called once, perhaps from within, when the host
// may be given credit for it: at once for all but commands, which wait for the proxy. It is not called after Close.
func (s *Server) Receive(pdu []byte, taken func()) {
	switch {
	case s.closed:
		return
	case len(pdu) == 0 || isResponse(pdu[0]):
		taken()
	case pdu[0] == ble.ATTOpConfirmation:
		taken()
		s.confirmed()
	case pdu[0]&ble.ATTCommand != 0 && s.table != nil:
		s.command(pdu, taken)
	case pdu[0]&ble.ATTCommand != 0 && len(s.held) < maxHeld:
		s.held = append(s.held, heldPDU{pdu: slices.Clone(pdu), taken: taken})
	case pdu[0]&ble.ATTCommand != 0:
		taken()
	default:
		taken()
		s.receiveRequest(pdu)
	}
}

// receiveRequest takes a request. A host that sends a second one before the first is answered does not speak ATT
// (Bluetooth Core, Vol 3 Part F, 3.3.2).
func (s *Server) receiveRequest(pdu []byte) {
	if s.request != nil {
		s.end("it sent a request before the last one was answered")
		return
	}
	req := s.begin(pdu[0])
	if s.table == nil {
		s.held = append(s.held, heldPDU{pdu: slices.Clone(pdu), req: req})
		return
	}
	s.serve(req, pdu)
}

func (s *Server) end(why string) {
	if !s.closed {
		s.cfg.Log.Warn("the host's link is ended", "device", s.cfg.Peer, "why", why)
		s.Close()
		s.cfg.End(reasonRemote)
	}
}

// begin notes that a request is to be answered.
func (s *Server) begin(op byte) *request {
	req := &request{op: op}
	s.request = req
	req.stop = s.cfg.After(answerWait, func() {
		if s.request == req {
			s.cfg.Log.Warn("the peripheral did not answer in time", "device", s.cfg.Peer, "opcode", op)
			s.fail(req, 0, ble.ErrTimeout)
		}
	})
	return req
}

// answer sends the answer to a request, unless it was given up.
func (s *Server) answer(req *request, pdu []byte) {
	if s.request != req || s.closed {
		return
	}
	req.stop()
	s.request = nil
	s.cfg.Send(pdu)
	s.keepSeen()
	if s.announce {
		s.announce = false
		s.indicateChange()
	}
}

// refuse answers a request with an error, which concerns the handle.
func (s *Server) refuse(req *request, handle uint16, code ble.ATTError) {
	s.answer(req, []byte{ble.ATTOpError, req.op, byte(handle), byte(handle >> 8), byte(code)})
}

// fail is refuse with what an operation failed for. Where the link is gone its end follows, and nothing is answered.
func (s *Server) fail(req *request, handle uint16, err error) {
	if code := codeOf(err); code != 0 {
		s.refuse(req, handle, code)
	}
}

// stackError is what the proxy's stack says for want of anything better (ESP-IDF, ESP_GATT_ERROR). For a host it would
// be the application's.
const stackError ble.ATTError = 0x85

// codeOf is the ATT error that a host is told, 0 for none.
func codeOf(err error) ble.ATTError {
	var code ble.ATTError
	switch {
	case errors.As(err, &code) && code != 0 && code != stackError:
		return code
	case errors.Is(err, ble.ErrNotConnected):
		return 0
	}
	return ble.ATTUnlikely
}

// serve answers a request that was begun.
func (s *Server) serve(req *request, pdu []byte) {
	f, ok := requests[req.op]
	switch {
	case !ok:
		s.refuse(req, 0, ble.ATTRequestNotSupported)
	case !wellFormed(pdu) || req.op != ble.ATTOpMTURequest && len(pdu) > s.mtu:
		s.refuse(req, 0, errInvalidPDU)
	default:
		f(s, req, pdu[1:])
	}
}

// requests has what answers each, given all but the opcode.
var requests = map[byte]func(s *Server, req *request, p []byte){
	ble.ATTOpMTURequest:      (*Server).exchangeMTU,
	ble.ATTOpFindInformation: (*Server).findInformation,
	ble.ATTOpFindByTypeValue: (*Server).findByTypeValue,
	ble.ATTOpReadByType:      (*Server).readByType,
	ble.ATTOpRead:            (*Server).read,
	ble.ATTOpReadBlob:        (*Server).readBlob,
	ble.ATTOpReadMultiple:    (*Server).readMultiple,
	ble.ATTOpReadByGroupType: (*Server).readByGroupType,
	ble.ATTOpWrite:           (*Server).write,
	ble.ATTOpPrepareWrite:    (*Server).prepare,
	ble.ATTOpExecuteWrite:    (*Server).execute,
}

func (s *Server) exchangeMTU(req *request, p []byte) {
	theirs := int(le(p))
	s.answer(req, []byte{ble.ATTOpMTUResponse, byte(s.ours), byte(s.ours >> 8)})
	s.mtu = max(min(theirs, s.ours), ble.MinMTU)
}

// le is a handle, or another number of 16 bits.
func le(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
