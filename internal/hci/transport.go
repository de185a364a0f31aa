package hci

import (
	"context"
	"io"
	"time"
)

// Transport is where a Controller meets its host.
type Transport interface {
	// Open waits for a host until ctx ends. The Conn before it was closed.
	Open(ctx context.Context) (Conn, error)
	// Close gives up what it holds, such as a listener.
	Close() error
}

// Conn is one host's connection. Close ends a Read and a Write that wait.
type Conn interface {
	io.ReadWriteCloser
	SetWriteDeadline(t time.Time) error
	// Name says who the host is, for people.
	Name() string
	// Packets: each Read and each Write is one whole packet; otherwise it is a stream.
	Packets() bool
}
