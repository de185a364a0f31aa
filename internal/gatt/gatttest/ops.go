package gatttest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

// LinkMTU is as gatt.MTUTeller has it.
func (p *Proxy) LinkMTU(ctx context.Context, a ble.Address, _ ble.AddressType) (int, error) {
	p.called("mtu %s", a)
	switch {
	case p.TellsMTU == 0:
		return 0, fmt.Errorf("%s: %w", p.Label, ble.ErrNotSupported)
	case p.TellsMTU < 0:
		<-ctx.Done()
		return 0, ctx.Err()
	}
	if err := p.sleep(ctx, p.TellsMTU); err != nil {
		return 0, err
	}
	return max(p.peripherals[a].MTU, ble.MinMTU), nil
}

// Connect answers as scripted.
func (p *Proxy) Connect(ctx context.Context, a ble.Address, t ble.AddressType, cached bool) (int, error) {
	kind := "connect"
	if cached {
		kind = "connect-cached"
	} else if p.Features().Has(ble.FeatureCacheClearing) {
		p.called("clear-cache %s", a)
	}
	p.called("%s %s", kind, a)
	p.mu.Lock()
	if !p.online {
		p.mu.Unlock()
		return 0, fmt.Errorf("%s: %w", p.Label, ble.ErrNotConnected)
	}
	n := p.attempts[a]
	p.attempts[a]++
	session := p.session
	taken := p.take(a)
	p.mu.Unlock()
	if !taken {
		p.Sink.LinkReport(p.Label, a, false, 0, 0)
		return 0, Code(0)
	}
	p.SendSlots()
	p.dialled(t)
	o := p.outcome(a, t, n)
	dev := p.peripherals[a]
	if dev == nil {
		o.Hang = true
	} else {
		dev.begin(p.Label)
	}
	if o.Hang {
		o.Delay = time.Hour
	}
	if err := p.sleep(ctx, o.Delay); err != nil {
		return 0, err // Disconnect is still to be called
	}
	if o.Code != 0 || o.Refuse {
		dev.end(p.Label)
		p.Sink.LinkReport(p.Label, a, false, 0, o.Code)
		p.free(a)
		p.SendSlots()
		return 0, Code(o.Code)
	}
	l := &plink{cached: cached, notify: make(map[uint16]bool), stands: make(map[uint16][]byte)}
	l.ctx, l.cancel = context.WithCancel(session)
	p.mu.Lock()
	p.links[a] = l
	l.secure = p.bonds[a]
	p.mu.Unlock()
	mtu := dev.MTU
	if mtu == 0 {
		mtu = 247
	}
	if cached {
		mtu = max(23, p.CachedMTU)
	}
	p.Sink.LinkReport(p.Label, a, true, mtu, 0)
	p.SendSlots()
	if o.Lose {
		p.DropLink(a, 0x13)
	}
	return mtu, nil
}

// Disconnect ends a link or an attempt.
func (p *Proxy) Disconnect(ctx context.Context, a ble.Address) error {
	p.called("disconnect %s", a)
	if !p.Online() {
		return fmt.Errorf("%s: %w", p.Label, ble.ErrNotConnected)
	}
	if err := p.sleep(ctx, p.DisconnectDelay); err != nil {
		return err
	}
	p.mu.Lock()
	l := p.links[a]
	delete(p.links, a)
	p.mu.Unlock()
	had := slices.Contains(p.Allocated(), a)
	if dev := p.peripherals[a]; dev != nil {
		dev.end(p.Label)
	}
	if had {
		p.reportEnd(a, 0x16, l)
	} else {
		p.Sink.LinkReport(p.Label, a, false, 0, 0)
	}
	return nil
}

func (p *Proxy) link(a ble.Address) (*plink, *Peripheral, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[a]
	if l == nil {
		return nil, nil, fmt.Errorf("%s: no link: %w", p.Label, ble.ErrNotConnected)
	}
	return l, p.peripherals[a], nil
}

// wait lets d pass on a link.
func (l *plink) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-l.ctx.Done():
		return ble.ErrNotConnected
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Services streams the database; a second time on one link there is no answer.
func (p *Proxy) Services(ctx context.Context, a ble.Address) ([]ble.Service, error) {
	p.called("services %s", a)
	l, dev, err := p.link(a)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	n := p.streams[a]
	p.streams[a]++
	p.mu.Unlock()
	if err := l.wait(ctx, p.streamDelay(a, n)); err != nil {
		return nil, err
	}
	if p.Streams != nil {
		services, err := p.Streams(a, n)
		if err != nil || services != nil {
			return services, err
		}
	}
	if l.cached {
		return nil, nil
	}
	dev.mu.Lock()
	defer dev.mu.Unlock()
	return slices.Clone(dev.Services), nil
}

func (p *Proxy) read(ctx context.Context, a ble.Address, handle uint16) ([]byte, error) {
	l, dev, err := p.link(a)
	if err != nil {
		return nil, err
	}
	dev.mu.Lock()
	delay := dev.ReadDelay
	dev.mu.Unlock()
	if err := l.wait(ctx, delay); err != nil {
		return nil, err
	}
	p.mu.Lock()
	unaware := l.unaware
	l.unaware = false
	p.mu.Unlock()
	if unaware {
		return nil, ble.ATTDatabaseOutOfSync
	}
	dev.mu.Lock()
	defer dev.mu.Unlock()
	if dev.Secure[handle] && !p.secure(a) {
		return nil, ble.ATTAuthentication
	}
	v, ok := dev.Values[handle]
	if !ok {
		return nil, ble.ATTInvalidHandle
	}
	return slices.Clone(v), nil
}

func (p *Proxy) secure(a ble.Address) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.links[a] != nil && p.links[a].secure
}

// Do reads or writes.
func (p *Proxy) Do(ctx context.Context, a ble.Address, op ble.Operation) ([]byte, error) {
	switch op.Kind {
	case ble.OpRead:
		p.called("read %s %d", a, op.Handle)
	case ble.OpReadDescriptor:
		p.called("read-descriptor %s %d", a, op.Handle)
	case ble.OpWriteDescriptor:
		p.called("write-descriptor %s %d %x", a, op.Handle, op.Value)
	}
	if op.Kind.Reads() {
		return p.read(ctx, a, op.Handle)
	}
	return nil, p.write(ctx, a, op.Handle, op.Value, op.Kind.Answered())
}

func (p *Proxy) write(ctx context.Context, a ble.Address, handle uint16, value []byte, response bool) error {
	l, dev, err := p.link(a)
	if err != nil {
		return err
	}
	if response {
		if err := l.wait(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	dev.mu.Lock()
	if dev.Secure[handle] && !p.secure(a) {
		dev.mu.Unlock()
		return ble.ATTAuthentication
	}
	if !response && dev.CommandTime > 0 {
		took := dev.CommandTime
		dev.mu.Unlock()
		p.mu.Lock()
		defer p.mu.Unlock()
		if now := time.Now(); l.commands.Before(now) {
			l.commands = now
		}
		l.commands = l.commands.Add(took)
		time.AfterFunc(time.Until(l.commands), func() {
			if l.ctx.Err() == nil {
				dev.mu.Lock()
				defer dev.mu.Unlock()
				dev.writes = append(dev.writes, Write{handle, string(value), false})
			}
		})
		return nil
	}
	if e := dev.Refused[handle]; e != 0 {
		dev.mu.Unlock()
		return e
	}
	dev.writes = append(dev.writes, Write{handle, string(value), response})
	dev.mu.Unlock()
	p.mu.Lock()
	l.stands[handle] = slices.Clone(value)
	p.mu.Unlock()
	return p.lost(ctx, "write %s %d", a, handle)
}

// Flush waits for the commands that are on their way.
func (p *Proxy) Flush(ctx context.Context, a ble.Address) error {
	l, _, err := p.link(a)
	if err != nil {
		return err
	}
	p.mu.Lock()
	left := time.Until(l.commands)
	p.mu.Unlock()
	if left <= 0 {
		return nil
	}
	return l.wait(ctx, left+time.Nanosecond)
}

// Notify registers for notifications.
func (p *Proxy) Notify(ctx context.Context, a ble.Address, handle uint16, enable bool) error {
	p.called("notify %s %d %v", a, handle, enable)
	l, _, err := p.link(a)
	if err != nil {
		return err
	}
	p.mu.Lock()
	l.notify[handle] = enable
	p.mu.Unlock()
	return p.lost(ctx, "notify %s %d %v", a, handle, enable)
}

// Pair bonds, unless the peripheral refuses.
func (p *Proxy) Pair(ctx context.Context, a ble.Address) error {
	p.called("pair %s", a)
	l, dev, err := p.link(a)
	if err != nil {
		return err
	}
	if err := l.wait(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	if dev.NoPair {
		return &ble.PairError{Reason: 0x05}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l.secure = true
	p.bonds[a] = true
	return nil
}

// Unpair drops the bond.
func (p *Proxy) Unpair(_ context.Context, a ble.Address) error {
	p.called("unpair %s", a)
	if !p.Online() {
		return ble.ErrNotConnected
	}
	p.Sink.PairingReport(p.Label, a, true) // as firmware up to 2026.7 answers
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.bonds, a)
	return nil
}

// ClearCache is counted only.
func (p *Proxy) ClearCache(_ context.Context, a ble.Address) error {
	p.called("clear-cache %s", a)
	return nil
}

// SetConnectionParams is counted only.
func (p *Proxy) SetConnectionParams(_ context.Context, a ble.Address, c ble.ConnectionParams) error {
	p.called("params %s %d %d %d %d", a, c.MinInterval, c.MaxInterval, c.Latency, c.Timeout)
	return nil
}
