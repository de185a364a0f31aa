package apiconn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lapse"
)

// Time limits of requests; the caller's context may be shorter.
const (
	connectTimeout    = 30 * time.Second
	disconnectTimeout = 20 * time.Second
	requestTimeout    = 30 * time.Second
	notifyTimeout     = 10 * time.Second
	// maxOurs bounds Proxy.ours, since the end of some attempts is never reported.
	maxOurs = 256
)

// do sends a request when its turn comes, and waits for its answer. Where it has several messages, they go out together,
// and the answer is that to the last one.
func (s *session) do(ctx context.Context, r *op, limit time.Duration, request ...proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := s.ops.enter(r); err != nil {
		return err
	}
	select {
	case <-r.turn:
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return s.giveUp(ctx, r)
	}
	if !s.w.sendNow(request...) {
		if err := s.w.send(ctx, request...); err != nil {
			if ctx.Err() != nil {
				return s.giveUp(ctx, r)
			}
			s.ops.giveUp(r, 0)
			return err
		}
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
	}
	if due, ok := ctx.Deadline(); ok && errors.Is(ctx.Err(), context.DeadlineExceeded) && lapse.Late(due, time.Now()) {
		select { // the process may have been stopped, so that the answer is there but unread
		case <-r.done:
			return r.err
		case <-time.After(lapse.Grace):
		}
	}
	return s.giveUp(ctx, r)
}

// giveUp ends the wait for r, unless the answer came at the same moment. An attempt to
// connect is called off, so that its slot is not lost.
func (s *session) giveUp(ctx context.Context, r *op) error {
	grace := abandonedGrace
	attempt := r.key.kind == opConnect && !r.stays
	if attempt {
		grace = abandonedConnect
	}
	sent, answered := s.ops.giveUp(r, grace)
	if answered {
		return r.err
	}
	if sent && attempt {
		s.w.post(deviceRequest(r.key.address, apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_DISCONNECT))
	}
	return ctx.Err()
}

// call runs one request on the present session.
func (p *Proxy) call(ctx context.Context, what string, r *op, limit time.Duration, request ...proto.Message) error {
	s := p.session()
	err := errOffline
	if s != nil {
		err = s.do(ctx, r, limit, request...)
	}
	if err != nil {
		return p.opError(what, r.key.address, err)
	}
	return nil
}

// require fails if the proxy lacks a feature.
func (p *Proxy) require(f ble.Features, what string) error {
	if p.Online() && !p.Features().Has(f) {
		return fmt.Errorf("%s is %w: %s runs ESPHome %s, which lacks %v; update or reconfigure it",
			what, ble.ErrNotSupported, p.Name(), apiwire.Printable(p.Version(), 32), f&^p.Features())
	}
	return nil
}

func deviceRequest(a ble.Address, t apipb.BluetoothDeviceRequestType) *apipb.BluetoothDeviceRequest {
	return &apipb.BluetoothDeviceRequest{Address: uint64(a), RequestType: t}
}

// Connect asks for a link and waits for the proxy's answer, at most 30 s. With cached the proxy
// skips service discovery and reports the default MTU. Without, it drops the GATT database that it keeps, if it can, and
// so lists what the peripheral has now. A refusal is a *ConnectFailedError. When ctx ends first, the attempt is called
// off.
func (p *Proxy) Connect(ctx context.Context, a ble.Address, t ble.AddressType, cached bool) (mtu int, err error) {
	return p.connect(ctx, a, t, cached, !cached && p.Features().Has(ble.FeatureCacheClearing))
}

// connect is Connect that has the proxy drop its database if anew is set. That request goes out with the one for the
// link, and nobody waits for its answer: a proxy takes requests in order.
func (p *Proxy) connect(ctx context.Context, a ble.Address, t ble.AddressType, cached, anew bool) (mtu int, err error) {
	// Without REMOTE_CACHING firmware has no request type that still works.
	if err := p.require(ble.FeatureActiveConnections|ble.FeatureRemoteCaching, "connecting"); err != nil {
		return 0, err
	}
	var requests []proto.Message
	if anew {
		requests = append(requests, clearRequest(a))
	}
	requests = append(requests, connectRequest(a, t, cached))
	if p.State() == StateDisplaced { // the answer would go to the other client
		return 0, p.opError("make a connection", a, fmt.Errorf("%w: %w", ble.ErrNotConnected, errDisplaced))
	}
	if p.Online() {
		p.mu.Lock()
		if len(p.ours) >= maxOurs {
			clear(p.ours)
		}
		p.ours[a] = true
		p.mu.Unlock()
	}
	r := newOp(a, opConnect, 0, apiwire.BluetoothDeviceConnectionResponse)
	if err := p.call(ctx, "make a connection", r, connectTimeout, requests...); err != nil {
		return 0, err
	}
	return r.mtu, nil
}

func connectRequest(a ble.Address, t ble.AddressType, cached bool) *apipb.BluetoothDeviceRequest {
	request := deviceRequest(a, apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE)
	if cached {
		request.RequestType = apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITH_CACHE
	}
	request.HasAddressType, request.AddressType = true, uint32(t)
	return request
}

// LinkMTU asks for the MTU of a link that is up. From ESPHome 2026.8 on, firmware tells it to a client that asks for
// the link once more (esphome-contract.md §11.8); earlier firmware must not be asked. The link stays up whatever the
// answer is.
func (p *Proxy) LinkMTU(ctx context.Context, a ble.Address, t ble.AddressType) (mtu int, err error) {
	r := newOp(a, opConnect, 0, apiwire.BluetoothDeviceConnectionResponse)
	r.stays = true
	if err := p.call(ctx, "ask for the MTU of the connection", r, requestTimeout, connectRequest(a, t, true)); err != nil {
		return 0, err
	}
	return r.mtu, nil
}

// Disconnect ends a link or an attempt and waits for the report of it, at most 20 s.
func (p *Proxy) Disconnect(ctx context.Context, a ble.Address) error {
	r := newOp(a, opDisconnect, 0, apiwire.BluetoothDeviceConnectionResponse)
	return p.call(ctx, "end the connection", r, disconnectTimeout,
		deviceRequest(a, apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_DISCONNECT))
}

// Services streams the GATT database (messages 70 to 72). EndHandle of services and Handle of characteristics
// are zero: the wire does not carry them. On one link it can be asked for once only.
func (p *Proxy) Services(ctx context.Context, a ble.Address) ([]ble.Service, error) {
	r := newOp(a, opServices, 0, apiwire.BluetoothGATTGetServicesDoneResponse)
	if err := p.call(ctx, "read the services", r, requestTimeout, &apipb.BluetoothGATTGetServicesRequest{Address: uint64(a)}); err != nil {
		return nil, err
	}
	return r.services, nil
}

// Do runs one GATT operation on the link to a and waits for the peripheral's answer. The value is nil unless the
// operation reads; ble.OpWriteCommand returns once the request is queued.
func (p *Proxy) Do(ctx context.Context, a ble.Address, op ble.Operation) ([]byte, error) {
	switch op.Kind {
	case ble.OpRead:
		return p.Read(ctx, a, op.Handle)
	case ble.OpReadDescriptor:
		return p.ReadDescriptor(ctx, a, op.Handle)
	case ble.OpWriteDescriptor:
		return nil, p.WriteDescriptor(ctx, a, op.Handle, op.Value)
	case ble.OpWrite, ble.OpWriteCommand:
		return nil, p.Write(ctx, a, op.Handle, op.Value, op.Kind == ble.OpWrite)
	}
	return nil, p.opError(op.Kind.String(), a, ble.ErrNotSupported)
}

// Read reads a characteristic's value; handle is that of the value.
func (p *Proxy) Read(ctx context.Context, a ble.Address, handle uint16) ([]byte, error) {
	r := newOp(a, opGATT, handle, apiwire.BluetoothGATTReadResponse)
	err := p.call(ctx, fmt.Sprintf("read handle %#04x", handle), r, requestTimeout,
		&apipb.BluetoothGATTReadRequest{Address: uint64(a), Handle: uint32(handle)})
	return r.result(err)
}

// ReadDescriptor reads a descriptor.
func (p *Proxy) ReadDescriptor(ctx context.Context, a ble.Address, handle uint16) ([]byte, error) {
	r := newOp(a, opGATT, handle, apiwire.BluetoothGATTReadResponse)
	err := p.call(ctx, fmt.Sprintf("read descriptor %#04x", handle), r, requestTimeout,
		&apipb.BluetoothGATTReadDescriptorRequest{Address: uint64(a), Handle: uint32(handle)})
	return r.result(err)
}

// result returns the data that was read, never nil without an error.
func (r *op) result(err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if r.data == nil {
		return []byte{}, nil
	}
	return r.data, nil
}

// Write writes a characteristic's value. With response it waits for the peripheral's;
// without it returns once the request is queued.
func (p *Proxy) Write(ctx context.Context, a ble.Address, handle uint16, value []byte, response bool) error {
	what := fmt.Sprintf("write handle %#04x", handle)
	request := &apipb.BluetoothGATTWriteRequest{Address: uint64(a), Handle: uint32(handle), Response: response, Data: value}
	if response {
		return p.call(ctx, what, newOp(a, opGATT, handle, apiwire.BluetoothGATTWriteResponse), requestTimeout, request)
	}
	s := p.session()
	err := errOffline
	if s != nil {
		err = s.writeCommand(ctx, a, handle, request)
	}
	if err != nil {
		return p.opError(what, a, err)
	}
	return nil
}

// writeCommand queues a write without response behind the other requests for the attribute.
func (s *session) writeCommand(ctx context.Context, a ble.Address, handle uint16, request proto.Message) error {
	for {
		wait, limit, err := s.ops.expectAck(a, handle)
		if err != nil {
			return err
		}
		if wait == nil {
			return s.w.send(ctx, request)
		}
		if !waitAtMost(ctx, wait, limit) {
			return ctx.Err()
		}
	}
}

// WriteDescriptor writes a descriptor and waits for the peripheral's response.
func (p *Proxy) WriteDescriptor(ctx context.Context, a ble.Address, handle uint16, value []byte) error {
	return p.call(ctx, fmt.Sprintf("write descriptor %#04x", handle),
		newOp(a, opGATT, handle, apiwire.BluetoothGATTWriteResponse), requestTimeout,
		&apipb.BluetoothGATTWriteDescriptorRequest{Address: uint64(a), Handle: uint32(handle), Data: value})
}

// Notify starts or stops the forwarding of notifications by the proxy. The caller writes the CCCD.
func (p *Proxy) Notify(ctx context.Context, a ble.Address, handle uint16, enable bool) error {
	return p.call(ctx, fmt.Sprintf("subscribe to handle %#04x", handle),
		newOp(a, opGATT, handle, apiwire.BluetoothGATTNotifyResponse), notifyTimeout,
		&apipb.BluetoothGATTNotifyRequest{Address: uint64(a), Handle: uint32(handle), Enable: enable})
}

// Pair pairs over the link, by Just Works. A failure is a *ble.PairError.
func (p *Proxy) Pair(ctx context.Context, a ble.Address) error {
	if err := p.require(ble.FeaturePairing, "pairing"); err != nil {
		return err
	}
	return p.call(ctx, "pair", newOp(a, opPair, 0, apiwire.BluetoothDevicePairingResponse), requestTimeout,
		deviceRequest(a, apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_PAIR))
}

// Unpair removes the bond from the proxy; it needs no link.
func (p *Proxy) Unpair(ctx context.Context, a ble.Address) error {
	if err := p.require(ble.FeaturePairing, "unpairing"); err != nil {
		return err
	}
	return p.call(ctx, "remove the bond", newOp(a, opUnpair, 0, apiwire.BluetoothDeviceUnpairingResponse), requestTimeout,
		deviceRequest(a, apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_UNPAIR))
}

// ClearCache makes the proxy forget the GATT database that it keeps; it needs no link.
func (p *Proxy) ClearCache(ctx context.Context, a ble.Address) error {
	if err := p.require(ble.FeatureCacheClearing, "clearing the GATT cache"); err != nil {
		return err
	}
	return p.call(ctx, "clear the GATT cache", newOp(a, opClearCache, 0, apiwire.BluetoothDeviceClearCacheResponse), requestTimeout,
		clearRequest(a))
}

func clearRequest(a ble.Address) *apipb.BluetoothDeviceRequest {
	return deviceRequest(a, apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CLEAR_CACHE)
}

// SetConnectionParams asks for other parameters of a link; an error may wrap ble.ErrInvalid. Success only means that
// the proxy asked.
func (p *Proxy) SetConnectionParams(ctx context.Context, a ble.Address, params ble.ConnectionParams) error {
	if err := params.Check(); err != nil {
		return p.opError("set the connection parameters", a, err)
	}
	if err := p.require(ble.FeatureConnectionParams, "setting connection parameters"); err != nil {
		return err
	}
	return p.call(ctx, "set the connection parameters", newOp(a, opParams, 0, apiwire.BluetoothSetConnectionParamsResponse), requestTimeout,
		&apipb.BluetoothSetConnectionParamsRequest{
			Address: uint64(a), MinInterval: uint32(params.MinInterval), MaxInterval: uint32(params.MaxInterval),
			Latency: uint32(params.Latency), Timeout: uint32(params.Timeout),
		})
}
