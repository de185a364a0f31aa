package hci

import "bluez-esphome/internal/h4"

// appendReports appends the packets of one advertisement: what was advertised, and apart from it, if the host scans
// actively, the scan response where the proxy put both together. Where there is none an empty one follows, as from a
// device that answers with nothing: the kernel and noble hold an advertisement of an active scan back until its
// scan response or another device's report comes. cut is called with the length of b after each packet.
func appendReports(b []byte, r *report, active bool, cut func(int)) []byte {
	adv, rsp := h4.Split(r.data[:r.n])
	b = h4.AppendReport(b, h4.ReportConnectable, r.addr, r.typ, r.rssi, adv)
	cut(len(b))
	if active {
		b = h4.AppendReport(b, h4.ReportScanResponse, r.addr, r.typ, r.rssi, rsp)
		cut(len(b))
	}
	return b
}
