package share

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"bluez-esphome/internal/apiserver"
)

// listenAgain is how often a port that is taken is tried.
const listenAgain = 2 * time.Second

// listen waits until the port is to be had.
func (p *Proxy) listen(ctx context.Context) (*net.TCPListener, error) {
	var lc net.ListenConfig
	for warned := false; ; warned = true {
		ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(p.srv.cfg.Listen, strconv.Itoa(p.port)))
		if err == nil {
			return ln.(*net.TCPListener), nil
		}
		if !warned && ctx.Err() == nil {
			p.log.Error("Cannot share the proxy yet", "error", err, "remedy", remedy(err))
		}
		if !pause(ctx) {
			return nil, context.Cause(ctx)
		}
	}
}

// remedy says what helps where a port is not to be had. It is tried again in any case.
func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program has the port: stop it, or change share.base_port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "share.listen is no address of this host: correct it, or take 0.0.0.0"
	case errors.Is(err, syscall.EACCES):
		return "ports below 1024 are for root: raise share.base_port"
	}
	return "look at share.listen and share.base_port"
}

// pause waits a little, and reports false if ctx ended.
func pause(ctx context.Context) bool {
	t := time.NewTimer(listenAgain)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// run offers the proxy until ctx ends.
func (p *Proxy) run(ctx context.Context) {
	p.learnCapabilities(ctx)
	ln, err := p.listen(ctx)
	if err != nil {
		return
	}
	addr := ln.Addr().(*net.TCPAddr)
	p.srv.plaintext(p, addr.IP)
	p.mu.Lock()
	p.address = addr.String()
	device := p.device
	p.mu.Unlock()
	p.log.Info("The proxy is shared", "name", device.Name, "address", addr.String(), "encrypted", p.psk != nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	if p.srv.cfg.Announce != nil && !p.srv.cfg.Original && !addr.IP.IsLoopback() {
		svc := Service{Name: device.Name, Port: uint16(addr.Port), Text: text(device, p.psk != nil)}
		if !addr.IP.IsUnspecified() {
			svc.IP = addr.IP.String()
		}
		wg.Go(func() { p.srv.cfg.Announce(ctx, svc) })
	}
	door := door{log: p.log}
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		if err != nil { // no descriptors left, or the like
			p.log.Warn("Cannot accept a host", "error", err)
			pause(ctx)
			continue
		}
		if p.srv.cfg.Wrap != nil {
			conn = p.srv.cfg.Wrap(conn)
		}
		v := door.knock(conn)
		wg.Go(func() {
			defer door.leave(v)
			cfg := p.session()
			cfg.Proved = func() bool { return door.enter(v) }
			err := apiserver.Serve(ctx, conn, cfg, p)
			p.log.Debug("Session with a host ended", "error", err)
		})
	}
}

// capabilitiesMinor is the version of the API from which on a device tells of its capabilities.
const capabilitiesMinor = 15

// learnCapabilities asks the device what hosts will ask. A device that does not answer is passed over.
func (p *Proxy) learnCapabilities(ctx context.Context) {
	if p.rest == nil || p.minor < capabilitiesMinor {
		return
	}
	said, err := p.rest.Capabilities(ctx)
	if err != nil {
		p.log.Debug("The device does not tell its capabilities", "error", err)
	}
	p.mu.Lock()
	p.device.Capabilities = said
	p.mu.Unlock()
}

func (p *Proxy) session() apiserver.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return apiserver.Config{
		Device: p.said, PSK: p.psk, APIMinor: p.minor,
		ServerInfo: "bluez-esphome (ESPHome " + p.device.ESPHomeVersion + ")",
		// Clients up to 2025 wait for an answer to message 3, later ones do not mind it.
		AuthOnHello: true, AnswerAuth: true,
		Queue: queueLimits, Log: p.log,
	}
}

// said is what hosts are told of the device now.
func (p *Proxy) said() apiserver.Device {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.device
}
