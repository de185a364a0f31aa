// Package capture records what the proxies hear and what is done on their links, as a sniffer of HCI would show it:
// each proxy is an adapter, each advertisement a report, each GATT operation its ATT PDUs. Whoever asked, a program on
// D-Bus, a host that shares a proxy or the host of a controller, the link is the proxy's, and is recorded there.
//
//	apiconn ──adverts, links, notifications──▶ Tap ──records──▶ reader ──unix socket──▶ the command capture
//	   ▲                                        ▲
//	   └────────────── operations ──────────────┴── gatt
//
// A Tap costs one load where nobody reads. A reader that does not keep up loses records, which are counted, and holds
// nobody up. What is never in a capture: keys. Pairing is the proxy's own affair, and only its outcome is known here.
package capture
