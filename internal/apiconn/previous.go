package apiconn

import (
	"log/slog"
	"strings"
	"time"

	"bluez-esphome/internal/apiwire"

	"bluez-esphome/internal/lockorder"
)

// previousWait is how long Previous gathers proxies before it warns: most are online within seconds of the start.
const previousWait = 10 * time.Second

// Previous warns of proxies that may have been taken from another host, with one line for all that come online at about
// the same time. A nil Previous does nothing.
type Previous struct {
	log *slog.Logger

	mu    lockorder.Mutex[lockorder.Previous]
	names []string
}

// NewPrevious makes a Previous that warns in that log.
func NewPrevious(log *slog.Logger) *Previous { return &Previous{log: log} }

func (v *Previous) add(p *Proxy) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.names = append(v.names, apiwire.Printable(p.Name(), 32))
	if len(v.names) == 1 {
		time.AfterFunc(previousWait, v.tell)
	}
}

func (v *Previous) tell() {
	v.mu.Lock()
	names := v.names
	v.names = nil
	v.mu.Unlock()
	v.log.Warn("These proxies do not tell whether another host (Home Assistant?) used them: if one did, it gets nothing from them any more; "+
		"remove them there, share them from here, or update those with ESPHome 2026.7: later ones that make connections are asked first", "proxies", strings.Join(names, ", "))
}
