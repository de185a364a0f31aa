package bluezshim

import "time"

// bluetoothctl registers the root of its monitors as soon as it sees AdvertisementMonitorManager1, although it has none
// yet. From version 5.56 to 5.73 it takes the answer for the end of the command that it was started with: "bluetoothctl
// connect" would leave before it is connected, with status 0, and "bluetoothctl pair" would call its pairing off by
// leaving. On bluetoothd without -E it does not find the interface. So its RegisterMonitor is answered once a monitor
// comes, or after holdTime.
//
// That is safe for other programs only as long as they do not wait for the answer before they show their first monitor.
// Those that do call nothing else meanwhile; bluetoothctl sends its command before it even lists its objects.

// bluetoothctlRoot is where bluetoothctl has its monitors. Other programs have a path of their own.
const bluetoothctlRoot = "/"

// holdTime is shorter than the 300 s after which bluetoothctl gives a call up, which it reports and, in a one-shot run,
// ends with.
const holdTime = 290 * time.Second

// mayHold says whether nobody waits for the answer to RegisterMonitor.
func (app *monitorApp) mayHold() bool { return app.root == bluetoothctlRoot && app.call.Followed() }

// hold leaves RegisterMonitor unanswered for now.
func (app *monitorApp) hold() {
	s := app.shim
	app.cancel = append(app.cancel, s.clock.AfterFunc(holdTime, func() { s.conn.Post(app.answer) }))
}
