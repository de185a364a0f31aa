package capture

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// socket is the socket's name in the folder of the state, which nobody but root and the daemon's user may enter.
const socket = "capture"

const (
	// askWait is how long who connects has to say what it wants.
	askWait = 5 * time.Second
	// maxAsk bounds what it says, in bytes.
	maxAsk = 64 << 10
)

// Socket is where the daemon with that folder of state is asked for captures.
func Socket(stateDir string) string { return filepath.Join(stateDir, socket) }

// reply is the line that comes before the capture.
type reply struct {
	Error string `json:"error,omitempty"`
}

// A Server gives captures to whoever may open its socket.
type Server struct {
	tap  *Tap
	log  *slog.Logger
	path string
	dir  *os.File // keeps the way to the socket short
	l    net.Listener

	closing sync.Once
}

// Serve listens in a daemon's folder of state. What is left there of an earlier run is replaced.
func (t *Tap) Serve(stateDir string, log *slog.Logger) (*Server, error) {
	s := &Server{tap: t, log: log, path: Socket(stateDir)}
	if info, err := os.Lstat(s.path); err == nil && info.Mode().Type() == fs.ModeSocket {
		_ = os.Remove(s.path)
	}
	var err error
	if s.dir, err = os.Open(stateDir); err != nil {
		return nil, fmt.Errorf("cannot offer captures: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: short(s.dir)})
	if err != nil {
		_ = s.dir.Close()
		return nil, fmt.Errorf("cannot offer captures at %s: %w", s.path, err)
	}
	l.SetUnlinkOnClose(false)
	s.l = l
	if err := os.Chmod(s.path, 0o660); err != nil { // the daemon's group, where it may enter the folder
		s.Close()
		return nil, fmt.Errorf("cannot offer captures: %w", err)
	}
	return s, nil
}

// short names the socket in an open folder: the address of a socket has 107 bytes at most.
func short(dir *os.File) string { return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socket) }

// Path is where the socket is, empty for a nil Server.
func (s *Server) Path() string {
	if s == nil {
		return ""
	}
	return s.path
}

// Close ends the listening and takes the socket away. A nil Server has none.
func (s *Server) Close() {
	if s == nil {
		return
	}
	s.closing.Do(func() {
		_ = s.l.Close()
		_ = os.Remove(s.path)
		_ = s.dir.Close()
	})
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.l.Close() })()
	for {
		conn, err := s.l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			s.log.Warn("Captures are not offered any more", "error", err)
			<-ctx.Done()
			return nil
		}
		wg.Go(func() {
			defer func() { _ = conn.Close() }()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			s.serve(ctx, conn)
		})
	}
}

// serve serves one capture.
func (s *Server) serve(ctx context.Context, conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(askWait))
	in := bufio.NewReaderSize(conn, maxAsk)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return
	}
	var want Want
	var r *reader
	if err = json.Unmarshal(line, &want); err == nil {
		r, err = s.tap.read(want)
	}
	var answer reply
	if err != nil {
		answer.Error = err.Error()
	}
	b, _ := json.Marshal(answer) // one string
	if _, werr := conn.Write(append(b, '\n')); err != nil || werr != nil {
		if r != nil {
			s.tap.leave(r)
		}
		return
	}
	_ = conn.SetDeadline(time.Time{})
	s.log.Info("A capture begins: it has what devices send and are sent", "devices", len(want.Devices), "redacted", want.Redact)
	drops := s.copy(ctx, conn, in, r)
	s.log.Info("The capture ended", "lost", drops)
}

// copy writes what the reader is told until the other side leaves.
func (s *Server) copy(ctx context.Context, conn net.Conn, in *bufio.Reader, r *reader) (drops uint32) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() { _ = conn.Close() }()
	defer cancel()
	wg.Go(func() { // it says nothing more; this ends with it
		_, _ = in.ReadByte()
		cancel()
	})
	defer s.tap.leave(r)
	var spare []byte
	for {
		data, lost := s.tap.take(r, spare)
		drops = lost
		if _, err := conn.Write(data); err != nil {
			return drops
		}
		if spare = data; cap(spare) > maxWaiting/4 {
			spare = nil
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return drops
		}
	}
}

// ErrNoDaemon: no daemon offers captures there.
var ErrNoDaemon = errors.New("no daemon runs there")
