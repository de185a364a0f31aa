// Package hci offers the proxies as Bluetooth LE controllers: whoever speaks HCI in H4 frames, the kernel through
// /dev/vhci or a line discipline, or a program that opens the controller itself, finds one whose radio is the proxies.
// It is a front on package links, beside bluezshim and share.
//
//	transport ──H4── Controller ──ACL, channel 4──▶ att.Server    ──▶ links.Links
//	   host  ◀─────── events       channel 6──▶ smp.Responder ──▶ links.Links
//	                      ▲── advertisements, links.Events
//
// A Controller is LE only, central only, and claims the least with which hosts work: legacy commands, LE encryption, no
// extended advertising, no data length, no resolving list. The tables are in claims.go and commands.go.
//
// # Threads
//
// One mutex guards a Controller with everything of its links, the att.Server and the smp.Responder included: commands
// of the host, events of package links, done functions and timers take it. Links is called with it held, which links
// allows. What is sent goes to a bounded queue that one goroutine of the transport writes; nobody waits for a host.
package hci
