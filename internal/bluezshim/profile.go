package bluezshim

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

// newProfileManagerInterface makes org.bluez.ProfileManager1. External profiles are sockets of classic Bluetooth,
// which a proxy has none of: registering one is refused.
func newProfileManagerInterface() *dbusobj.Interface {
	return &dbusobj.Interface{
		Name: "org.bluez.ProfileManager1",
		Methods: []dbusobj.Method{
			{
				Name: "RegisterProfile",
				In:   []dbusobj.Arg{{Name: "profile", Type: "o"}, {Name: "UUID", Type: "s"}, {Name: "options", Type: "a{sv}"}},
				Call: func(c *dbusobj.Call) {
					if _, err := ble.ParseUUID(c.Body[1].(string)); err != nil {
						errInvalidArguments.to(c)
						return
					}
					errNotSupported.to(c)
				},
			},
			{
				Name: "UnregisterProfile", In: []dbusobj.Arg{{Name: "profile", Type: "o"}},
				Call: func(c *dbusobj.Call) { errDoesNotExist.to(c) },
			},
		},
	}
}
