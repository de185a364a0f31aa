package hci

// What the controller claims: the least with which Linux 6.1 and 6.12, Bumble and noble were seen to work, which makes
// the kernel use legacy LE commands only. A claim more is a command more that has to be answered (Bluetooth Core, Vol 4
// Part E).
const (
	hciVersion = 9 // 5.0
	lmpVersion = 9
	// manufacturer is none, so that no host tries a vendor's set-up.
	manufacturer = 0xffff
	revision     = 1
	// acceptListSize bounds the accept list. A host with more wishes scans without it.
	acceptListSize = 16
	// aclLength is the longest ACL packet, in bytes without its header, either way; aclPackets is how many the host may
	// have on their way, over all links.
	aclLength  = 251
	aclPackets = 8
)

var (
	// lmpFeatures: no BR/EDR (bit 37), LE (bit 38), no extended features (bit 63).
	lmpFeatures = [8]byte{4: 0x60}
	// leFeatures: encryption. Not: connection parameter requests by link layer (1), data length (5), privacy (6), extended
	// advertising (12), channel selection 2 (14).
	leFeatures = [8]byte{0x01}
	// leStates: passive and active scan, central, and both together (bits 4, 5, 6, 22–25).
	leStates = [8]byte{0x70, 0x00, 0xc0, 0x03}
)

// supportedCommands is the bitmap of Read Local Supported Commands: what is in the table, no more, since hosts go by
// it.
func supportedCommands() (bits [64]byte) {
	for _, c := range commands {
		if c.octet >= 0 {
			bits[c.octet] |= 1 << c.bit
		}
	}
	return bits
}
