package dbusobj

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// dialAny tries the addresses of a list as DBUS_SYSTEM_BUS_ADDRESS holds it (D-Bus
// specification, Server Addresses) one after another until one lets us in.
func dialAny(ctx context.Context, list string) (*net.UnixConn, error) {
	var errs []error
	for addr := range strings.SplitSeq(list, ";") {
		if addr == "" {
			continue
		}
		name, err := socketName(addr)
		if err == nil {
			var sock *net.UnixConn
			sock, err = dialOne(ctx, name)
			if err == nil {
				return sock, nil
			}
		}
		errs = append(errs, fmt.Errorf("cannot connect to bus %q: %w", addr, err))
	}
	if len(errs) == 0 {
		return nil, fmt.Errorf("cannot connect to bus: no address in %q", list)
	}
	return nil, errors.Join(errs...)
}

// socketName turns unix:path=… or unix:abstract=… into the name that package net wants.
func socketName(addr string) (string, error) {
	transport, keys, _ := strings.Cut(addr, ":")
	if transport != "unix" {
		return "", fmt.Errorf("transport %q is not supported, only unix", transport)
	}
	var name string
	for kv := range strings.SplitSeq(keys, ",") {
		k, v, _ := strings.Cut(kv, "=")
		if k != "path" && k != "abstract" {
			continue
		}
		v, err := url.PathUnescape(v)
		if err != nil {
			return "", err
		}
		if v == "" || name != "" {
			return "", errors.New("one of path and abstract is needed")
		}
		name = v
		if k == "abstract" {
			name = "@" + v
		}
	}
	if name == "" {
		return "", errors.New("one of path and abstract is needed")
	}
	return name, nil
}

func dialOne(ctx context.Context, name string) (*net.UnixConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", name)
	if err != nil {
		return nil, err
	}
	sock := conn.(*net.UnixConn)
	stop := context.AfterFunc(ctx, func() { _ = sock.SetDeadline(time.Unix(1, 0)) })
	err = authenticate(sock)
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = sock.Close()
		return nil, err
	}
	return sock, nil
}

// authenticate speaks SASL (D-Bus specification, Authentication Protocol). The bus says
// nothing unasked before BEGIN, so the buffered reader takes nothing that comes later.
func authenticate(sock *net.UnixConn) error {
	in := bufio.NewReaderSize(sock, 4096)
	ask := func(line, want string) error {
		if _, err := sock.Write([]byte(line + "\r\n")); err != nil {
			return err
		}
		got, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if word, _, _ := strings.Cut(strings.TrimSpace(string(got)), " "); word != want {
			return fmt.Errorf("the bus answered %q, not %s", strings.TrimSpace(string(got)), want)
		}
		return nil
	}
	uid := hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid())))
	if err := ask("\x00AUTH EXTERNAL "+uid, "OK"); err != nil {
		return fmt.Errorf("cannot authenticate: %w", err)
	}
	if err := ask("NEGOTIATE_UNIX_FD", "AGREE_UNIX_FD"); err != nil {
		return fmt.Errorf("cannot negotiate file descriptors: %w", err)
	}
	_, err := sock.Write([]byte("BEGIN\r\n"))
	return err
}
