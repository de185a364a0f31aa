package hci

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// vhciPath is where the kernel's module hci_vhci makes controllers.
const vhciPath = "/dev/vhci"

// VHCI is a controller of this kernel, hciN, through the module hci_vhci.
type VHCI struct {
	path string
}

var _ Transport = (*VHCI)(nil)

// NewVHCI makes the Transport; the device is opened by Open.
func NewVHCI() *VHCI { return &VHCI{path: vhciPath} }

// typeVendor is the type of the packets by which vhci itself is spoken to.
const typeVendor = 0xff

// Open implements Transport: the kernel is always there, if its module is.
func (v *VHCI) Open(context.Context) (Conn, error) {
	f, err := os.OpenFile(v.path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a controller of this kernel: %w; %s", err, vhciRemedy(err))
	}
	if _, err := f.Write([]byte{typeVendor, 0x00}); err != nil { // make a controller
		_ = f.Close()
		return nil, fmt.Errorf("cannot make a controller of this kernel: %w", err)
	}
	// The answer comes before everything else, but only if it is read before hciN speaks: the kernel queues both in order.
	b := make([]byte, 16)
	n, err := f.Read(b)
	if err != nil || n != 4 || b[0] != typeVendor {
		_ = f.Close()
		return nil, fmt.Errorf("cannot make a controller of this kernel: its answer is % x, error %w", b[:n], errors.Join(err, io.ErrUnexpectedEOF))
	}
	return vhciConn{f, fmt.Sprintf("hci%d", binary.LittleEndian.Uint16(b[2:]))}, nil
}

func vhciRemedy(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "load the module: modprobe hci_vhci; a container has to be given the device: --device /dev/vhci"
	case errors.Is(err, fs.ErrPermission):
		return "the daemon's group needs it: bluez-esphome-setup controller installs a udev rule, or run as root; in a container --group-add the device's group"
	}
	return "is the module hci_vhci whole?"
}

// Close implements Transport.
func (v *VHCI) Close() error { return nil }

// vhciConn is hciN, which goes with it.
type vhciConn struct {
	*os.File
	name string
}

func (c vhciConn) Packets() bool { return true }
func (c vhciConn) Name() string  { return c.name }

// SetWriteDeadline does nothing: the kernel takes every packet.
func (c vhciConn) SetWriteDeadline(time.Time) error { return nil }
