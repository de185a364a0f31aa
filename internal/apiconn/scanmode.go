package apiconn

import (
	"context"
	"fmt"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// SetScannerMode asks for a scan mode, now and in every later session; Stop restores the mode that
// the proxy is configured for. With a ScanMode other than ScanAuto it does nothing. The error
// wraps ble.ErrNotSupported if the proxy cannot switch, ble.ErrNotConnected if it is offline; the
// wish is kept for later.
func (p *Proxy) SetScannerMode(ctx context.Context, mode ble.ScannerMode) error {
	if p.cfg.ScanMode != ScanAuto {
		return nil
	}
	p.mu.Lock()
	p.wish = &mode
	p.mu.Unlock()
	s := p.session()
	if s == nil {
		return fmt.Errorf("cannot set the scan mode of %s: %w", p.Name(), errOffline)
	}
	if err := p.require(ble.FeatureStateAndMode, "switching the scan mode"); err != nil {
		return err
	}
	if err := s.w.send(ctx, &apipb.BluetoothScannerSetModeRequest{Mode: apipb.BluetoothScannerMode(mode)}); err != nil {
		return fmt.Errorf("cannot set the scan mode of %s: %w", p.Name(), err)
	}
	return nil
}

// scannerState handles message 126, and on the first of a session asks for the wished mode.
func (s *session) scannerState(m *apipb.BluetoothScannerStateResponse) {
	p := s.p
	first := !s.subscribed.Load() || s.wishAgain.Swap(false)
	s.proved()
	s.proof()
	if s.probe.used.Load() {
		s.reinstated()
	}
	state := ble.ScannerState(min(max(m.GetState(), 0), 0xff))
	mode, configured := scannerMode(m.GetMode()), scannerMode(m.GetConfiguredMode())
	p.mu.Lock()
	if first && p.original == nil {
		p.original = new(mode)
		if versionAtLeast(s.info.Version, 2025, 9) { // before, the field does not exist
			p.original = new(configured)
		}
	}
	wish := p.wish
	p.mu.Unlock()
	if first && wish != nil && *wish != mode {
		s.w.post(&apipb.BluetoothScannerSetModeRequest{Mode: apipb.BluetoothScannerMode(*wish)})
	}
	if s.up {
		p.cfg.Handler.ScannerState(p, state, mode, configured)
	}
}

func scannerMode(m apipb.BluetoothScannerMode) ble.ScannerMode {
	if m == apipb.BluetoothScannerMode_BLUETOOTH_SCANNER_MODE_ACTIVE {
		return ble.ScanActive
	}
	return ble.ScanPassive
}

// restoreMode leaves the proxy in the mode in which it was.
func (s *session) restoreMode() {
	if m := s.p.restoreMode(); m != nil {
		s.w.post(&apipb.BluetoothScannerSetModeRequest{Mode: apipb.BluetoothScannerMode(*m)})
	}
}

// restoreMode is the mode in which to leave the proxy, or nil if we did not ask for another one. The proxy itself would
// keep ours until it restarts.
func (p *Proxy) restoreMode() *ble.ScannerMode {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wish == nil || p.original == nil || *p.wish == *p.original {
		return nil
	}
	return p.original
}
