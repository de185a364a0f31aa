package web

import (
	"fmt"
	"strings"
	"time"
)

// tryOf describes a call of Connect in words.
func tryOf(c Connect) pageTry {
	p := pageTry{At: c.At.UnixMilli(), Address: c.Device.String(), Name: text(c.Name), Result: text(c.Result)}
	for _, who := range c.Asked {
		p.Asked = append(p.Asked, text(who))
	}
	for _, t := range c.Tries {
		heard := "not heard"
		if t.RSSI != 0 {
			heard = fmt.Sprintf("%d dBm", t.RSSI)
		}
		p.Tries = append(p.Tries, message(fmt.Sprintf("%s, %s: %s %s", t.Proxy, heard, t.Result, lasted(t.Took))))
		p.Proxies = append(p.Proxies, text(t.Proxy))
	}
	what := ""
	switch {
	case c.Error != "":
		p.Failed = c.Result != "called-off"
		what = fmt.Sprintf("failed %s: %s", lasted(c.Took), strings.TrimPrefix(c.Error, "cannot connect: "))
	case c.Result == "":
		what = "connecting"
	case c.Ended.IsZero():
		what = fmt.Sprintf("connected through %s %s", c.Proxy, lasted(c.Took))
	default:
		p.Failed = !c.Local
		what = fmt.Sprintf("connected through %s %s, ended after %v: %s", c.Proxy, lasted(c.Took), c.Ended.Sub(c.At.Add(c.Took)).Round(time.Second), c.Why)
	}
	if c.SlotWait >= 100*time.Millisecond {
		what += fmt.Sprintf("; waited %v for a slot", c.SlotWait.Round(100*time.Millisecond))
	}
	if c.Lost > 0 {
		what += fmt.Sprintf("; a program lost %d notifications, which it read too slowly", c.Lost)
	}
	p.What = message(what)
	return p
}

// lasted says after how long something happened.
func lasted(d time.Duration) string {
	if d < 50*time.Millisecond {
		return "at once"
	}
	return fmt.Sprintf("after %v", d.Round(100*time.Millisecond))
}
