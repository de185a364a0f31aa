package proxysim

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"bluez-esphome/internal/ble"

	"golang.org/x/sync/errgroup"
)

const (
	// maxControlLine bounds one request of the control protocol.
	maxControlLine = 64 << 10
	// drainTime is how long an answer may wait for what was heard before.
	drainTime = 100 * time.Millisecond
	socketEnd = ".sock"
)

// ControlServer lets tests steer the peripherals of an Air: each has a unix
// socket ID.sock that answers line-delimited JSON requests:
//
//	{"op":"reset"}                       forget writes, restore values and advertisement, advertise
//	{"op":"forget_bonds"}                forget pairings
//	{"op":"advertise","on":bool}         start or stop advertising
//	{"op":"set_advertisement","raw_advertisement":hex,"raw_scan_response":hex}
//	                                     change it; absent = keep
//	{"op":"disconnect","reason":19|8}    end the connection as the remote user or by a timeout
//	{"op":"notify","handle":n,"value":hex,"indicate":bool}
//	                                     notify or indicate if subscribed
//	{"op":"set_value","handle":n,"value":hex}
//	                                     change a value silently
//	{"op":"set_gatt","gatt":{…},"indicate":bool}
//	                                     another GATT table, in the format of the file; told by Service Changed
//	{"op":"notify_early","handle":n,"value":hex}
//	                                     notify with each enabling, before its answer
//	{"op":"status"}                      connections, advertising, writes, subscriptions
//	{"op":"set_rssi","proxy":name,"rssi":dBm}
//	                                     how a proxy hears it; without rssi it does not
//	{"op":"serve"}                       this connection answers for the characteristics from now on; see Event
//	{"op":"answer","id":n,"value":hex,"error":ATT error}
//	                                     its answer to a read or a write
//
// with {"ok":true,…} or {"ok":false,"error":text}. Once a changed advertisement
// is acknowledged, no proxy sends the former one any more.
type ControlServer struct {
	air       *Air
	log       *slog.Logger
	ids       []string
	listeners []net.Listener
}

// NewControlServer opens the sockets in dir, which is made if it is missing.
// Sockets that an earlier run left there are replaced.
func NewControlServer(a *Air, dir string, log *slog.Logger) (*ControlServer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the folder of control sockets: %w", err)
	}
	c := &ControlServer{air: a, log: log}
	for _, id := range a.IDs() {
		if id != filepath.Base(id) || strings.HasPrefix(id, ".") {
			c.Close()
			return nil, fmt.Errorf("cannot name a control socket after peripheral %q", id)
		}
		path := filepath.Join(dir, id+socketEnd)
		if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
			_ = os.Remove(path) // listening says if that did not help
		}
		ln, err := net.Listen("unix", path)
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("cannot listen for control requests: %w", err)
		}
		c.ids = append(c.ids, id)
		c.listeners = append(c.listeners, ln)
	}
	return c, nil
}

// Close removes the sockets; Run does so itself.
func (c *ControlServer) Close() {
	for _, ln := range c.listeners {
		_ = ln.Close()
	}
}

// Run answers requests until ctx ends.
func (c *ControlServer) Run(ctx context.Context) error {
	defer c.Close()
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, c.Close)() // who accepts looks at the same context
	for i, ln := range c.listeners {
		g.Go(func() error { return c.accept(ctx, ln, c.ids[i]) })
	}
	return g.Wait()
}

func (c *ControlServer) accept(ctx context.Context, ln net.Listener, id string) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("cannot accept control connections: %w", err)
		}
		wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			defer conn.Close()
			c.serve(ctx, conn, id)
		})
	}
}

// controlRequest is one request; which fields count depends on Op.
type controlRequest struct {
	Op               string    `json:"op"`
	On               bool      `json:"on"`
	RawAdvertisement *HexBytes `json:"raw_advertisement"`
	RawScanResponse  *HexBytes `json:"raw_scan_response"`
	Reason           int32     `json:"reason"`
	Handle           uint16    `json:"handle"`
	Value            HexBytes  `json:"value"`
	Indicate         bool      `json:"indicate"`
	Proxy            string    `json:"proxy"`
	RSSI             *int8     `json:"rssi"`
	GATT             *GATTSpec `json:"gatt"`
	ID               uint64    `json:"id"`
	Error            uint8     `json:"error"`
}

// controlReply is one answer; Status is only there for the request of that name.
type controlReply struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	*Status
}

func (c *ControlServer) serve(ctx context.Context, conn net.Conn, id string) {
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxControlLine)
	s := session{id: id, conn: conn, events: make(chan Event, maxEvents)}
	var wg sync.WaitGroup
	wg.Go(s.pass)
	defer wg.Wait()
	defer s.close()
	for lines.Scan() {
		if !s.answer(func() any { return c.reply(ctx, &s, lines.Bytes()) }) {
			return
		}
	}
}

// reply does what a line asks for.
func (c *ControlServer) reply(ctx context.Context, s *session, line []byte) controlReply {
	var r controlRequest
	reply := controlReply{OK: true}
	err := json.Unmarshal(line, &r)
	if err == nil {
		reply.Status, err = c.do(ctx, s, r)
	}
	if err != nil {
		reply.OK, reply.Error = false, err.Error()
	}
	c.log.Debug("control request", "peripheral", s.id, "op", r.Op, "error", reply.Error)
	return reply
}

func (c *ControlServer) do(ctx context.Context, s *session, r controlRequest) (*Status, error) {
	id := s.id
	switch r.Op {
	case "serve":
		return nil, s.serve(c.air)
	case "answer":
		if s.server == nil {
			return nil, errors.New(`cannot answer: this connection does not serve`)
		}
		return nil, s.server.Answer(r.ID, r.Value, ble.ATTError(r.Error))
	case "reset":
		return nil, c.drained(ctx, c.air.Reset(id))
	case "forget_bonds":
		return nil, c.air.ForgetBonds(id)
	case "advertise":
		return nil, c.drained(ctx, c.air.Advertise(id, r.On))
	case "set_advertisement":
		return nil, c.drained(ctx, c.air.SetAdvertisement(id, present(r.RawAdvertisement), present(r.RawScanResponse)))
	case "disconnect":
		if r.Reason == 0 {
			r.Reason = ReasonRemote
		}
		if err := c.air.Disconnect(id, r.Reason); !errors.Is(err, ErrNoLink) {
			return nil, err
		}
		return nil, nil
	case "notify":
		if s.server != nil {
			return nil, s.server.Push(r.Handle, r.Value, r.Indicate)
		}
		return nil, c.air.Notify(id, r.Handle, r.Value, r.Indicate)
	case "set_value":
		return nil, c.air.SetValue(id, r.Handle, r.Value)
	case "set_gatt":
		if r.GATT == nil {
			return nil, errors.New(`cannot change the GATT table: "gatt" is missing`)
		}
		return nil, c.air.SetGATT(id, *r.GATT, r.Indicate)
	case "notify_early":
		return nil, c.air.NotifyEarly(id, r.Handle, r.Value)
	case "status":
		status, err := c.air.Status(id)
		return &status, err
	case "set_rssi":
		if r.RSSI == nil {
			return nil, c.air.SetRSSI(id, r.Proxy, 0, false)
		}
		return nil, c.air.SetRSSI(id, r.Proxy, *r.RSSI, true)
	}
	return nil, fmt.Errorf("cannot do %q: no such operation", r.Op)
}

// present gives the bytes of a field that is there, which may be none at all.
func present(h *HexBytes) []byte {
	if h == nil {
		return nil
	}
	return append([]byte{}, *h...)
}

// drained waits until what was heard before a change is out of the way.
func (c *ControlServer) drained(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	c.air.Drain(ctx)
	return err
}
