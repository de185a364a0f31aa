package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"bluez-esphome/tests/harness"
)

// broker is a real MQTT broker on loopback, in a process of its own.
type broker struct {
	*process
	address, version string
}

var errNoMosquitto = errors.New("there is no mosquitto (apt install mosquitto, or make test-stream)")

// mosquitto starts Mosquitto, which stores nothing on disk and logs nothing.
func (w *world) mosquitto(ctx context.Context) (*broker, error) {
	bin, ok := harness.Server("mosquitto")
	if !ok {
		return nil, errNoMosquitto
	}
	b, err := w.server(ctx, "listener %s 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest none\nmax_queued_messages 100000\n", bin, "-c")
	if err != nil {
		return nil, err
	}
	help, _ := exec.CommandContext(ctx, bin, "-h").Output() // its status is 1 although nothing is wrong
	first, _, _ := strings.Cut(string(help), "\n")
	b.version = strings.TrimSpace(first)
	return b, nil
}

// server starts a broker whose configuration has its port in place of %s, and waits until it listens.
func (w *world) server(ctx context.Context, conf, bin string, args ...string) (*broker, error) {
	address, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(w.dir, "broker")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "conf")
	if err := os.WriteFile(path, fmt.Appendf(nil, conf, port), 0o600); err != nil {
		return nil, err
	}
	p, err := spawn(ctx, nil, bin, append(args, path)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return &broker{process: p, address: address}, c.Close()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			p.stop()
			return nil, p.failed(err)
		}
	}
}
