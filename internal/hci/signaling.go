package hci

// Codes of L2CAP signaling packets (Bluetooth Core, Vol 3 Part A, 4).
const commandReject = 0x01

// signalingResponses are those that are no requests: nothing answers them.
var signalingResponses = map[byte]bool{
	commandReject: true, 0x03: true, 0x05: true, 0x07: true, 0x0b: true, 0x13: true, 0x15: true, 0x16: true, 0x18: true, 0x1a: true,
}

// signal takes one packet of the signaling channel. There is nothing to negotiate: no channels but the fixed ones, and
// parameters are the proxy's affair.
func (l *link) signal(p []byte) {
	if len(p) < 4 || p[1] == 0 || signalingResponses[p[0]] {
		return
	}
	l.send(channelSignaling, []byte{commandReject, p[1], 2, 0, 0, 0}) // command not understood
}
