package status

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// Take makes the daemon subscribe to a proxy that another host has. It returns once the daemon tries. If several
// proxies have that name, all are taken.
func (r *Report) Take(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := dbus.Connect(r.Bus, dbus.WithContext(ctx))
	if err != nil {
		return explain(r.Bus, err)
	}
	defer conn.Close()
	found := false
	for i := range r.Proxies {
		p := &r.Proxies[i]
		if p.Name != name {
			continue
		}
		found = true
		if err := conn.Object("org.bluez", p.path).CallWithContext(ctx, "org.bluez_esphome.Proxy1.Take", dbus.FlagNoAutoStart).Err; err != nil {
			return fmt.Errorf("cannot take %q: %w", name, err)
		}
	}
	if !found {
		return fmt.Errorf("there is no proxy %q; those that there are: %s", name, r.Names())
	}
	return nil
}
