package capture

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"bluez-esphome/internal/btsnoop"
)

// Summary is what became of a capture.
type Summary struct {
	Records int
	Lost    uint32 // records that did not fit, since they were not taken fast enough
	Full    bool   // it has as many bytes as it may have
}

// Record has the daemon at a socket give a capture and writes it to w until ctx ends or it has limit bytes; 0 is no
// limit. It is an error if the daemon ends before; what was written is whole then, too. ready is called once the
// capture has begun.
func Record(ctx context.Context, path string, want Want, limit int64, w io.Writer, ready func()) (Summary, error) {
	conn, err := dial(ctx, path)
	if err != nil {
		return Summary{}, err
	}
	defer leave(conn)
	defer context.AfterFunc(ctx, func() { enough(conn) })()
	ask, err := json.Marshal(want)
	if err != nil {
		return Summary{}, fmt.Errorf("cannot ask for a capture: %w", err)
	}
	if _, err := conn.Write(append(ask, '\n')); err != nil {
		return Summary{}, fmt.Errorf("cannot ask for a capture: %w", err)
	}
	in := bufio.NewReader(conn)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return Summary{}, fmt.Errorf("cannot begin a capture: the daemon does not answer: %w", err)
	}
	var answer reply
	if err := json.Unmarshal(line, &answer); err != nil {
		return Summary{}, fmt.Errorf("cannot begin a capture: %w", err)
	}
	if answer.Error != "" {
		return Summary{}, fmt.Errorf("cannot begin a capture: %s", answer.Error)
	}
	ready()
	return transcribe(ctx, in, limit, w)
}

var errEnded = errors.New("the daemon ended the capture: it stopped, or restarts")

// ended reports whether a read failed since there is nothing more.
func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// transcribe copies records whole.
func transcribe(ctx context.Context, in io.Reader, limit int64, w io.Writer) (s Summary, err error) {
	out := bufio.NewWriter(w)
	defer func() {
		if ferr := out.Flush(); ferr != nil && err == nil {
			err = fmt.Errorf("cannot write the capture: %w", ferr)
		}
	}()
	buf := btsnoop.Header()
	records, err := btsnoop.NewReader(in)
	switch {
	case err != nil && ctx.Err() != nil: // it was over before it began: an empty capture
		_, err = out.Write(buf)
		return s, err
	case ended(err):
		return s, errEnded
	case err != nil:
		return s, err
	}
	written := int64(0)
	for {
		if limit > 0 && written+int64(len(buf)) > limit {
			s.Full = true
			return s, nil
		}
		if _, err := out.Write(buf); err != nil {
			return s, fmt.Errorf("cannot write the capture: %w", err)
		}
		written += int64(len(buf))
		if !records.Buffered() { // what came is in the file before more is waited for
			if err := out.Flush(); err != nil {
				return s, fmt.Errorf("cannot write the capture: %w", err)
			}
		}
		rec, err := records.Next()
		switch {
		case ctx.Err() != nil:
			return s, nil
		case ended(err):
			return s, errEnded
		case err != nil:
			return s, fmt.Errorf("cannot go on with the capture: %w", err)
		}
		s.Records++
		s.Lost = rec.Drops
		buf = btsnoop.Append(buf[:0], rec)
	}
}

// leaveWait bounds how long a daemon that stands still is waited for at the end of a capture.
const leaveWait = time.Second

// enough tells the daemon that no more is wanted. It closes the connection then.
func enough(conn *net.UnixConn) {
	_ = conn.SetReadDeadline(time.Now().Add(leaveWait))
	_ = conn.CloseWrite()
}

// leave ends a capture and waits until the daemon has let go of it: the place of the capture is free for another one
// when Record returns.
func leave(conn *net.UnixConn) {
	enough(conn)
	_, _ = io.Copy(io.Discard, conn)
	_ = conn.Close()
}

func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err == nil {
		defer func() { _ = dir.Close() }()
		var conn net.Conn
		if conn, err = new(net.Dialer).DialContext(ctx, "unix", short(dir)); err == nil {
			return conn.(*net.UnixConn), nil
		}
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("cannot capture at %s: a capture shows what devices say, which only root and the daemon's own user may see; try again with sudo", path)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("cannot capture at %s: %w", path, ErrNoDaemon)
	}
	return nil, fmt.Errorf("cannot capture at %s: %w", path, err)
}
