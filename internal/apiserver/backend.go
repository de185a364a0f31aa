package apiserver

import "bluez-esphome/internal/ble"

// Backend decides what a session's requests do. The methods of one session
// are called one after another, in order of arrival, from the goroutine that
// reads the connection: they should not wait for long. Answers are given through the
// Session, then or later, from any goroutine. Addresses are masked to 48 bits.
type Backend interface {
	// Opened is called once the client is authenticated, before any other method.
	Opened(s *Session)
	// Closed is called last, if Opened was. Nothing sent from then on goes anywhere.
	Closed(s *Session)

	// SubscribeAdverts is message 66. Raw is false if the client asked for decoded
	// advertisements.
	SubscribeAdverts(s *Session, raw bool)
	// UnsubscribeAdverts is message 87.
	UnsubscribeAdverts(s *Session)
	// SubscribeSlots is message 80, answered by Session.Slots.
	SubscribeSlots(s *Session)
	// SetScanMode is message 127; it has no answer of its own.
	SetScanMode(s *Session, mode ble.ScannerMode)

	// Connect is message 68 with one of the two types that connect, answered by
	// Session.Connection.
	Connect(s *Session, r ConnectRequest)
	// Disconnect, Pair, Unpair and ClearCache are the other types of message 68, answered by
	// Session.Connection, Paired, Unpaired and CacheCleared.
	Disconnect(s *Session, a ble.Address)
	Pair(s *Session, a ble.Address)
	Unpair(s *Session, a ble.Address)
	ClearCache(s *Session, a ble.Address)

	// GetServices is message 70, answered by Session.Services any number of times and
	// Session.ServicesDone.
	GetServices(s *Session, a ble.Address)
	// Read is messages 73 and 76, answered by Session.ReadData or GATTError.
	Read(s *Session, a ble.Address, handle uint16)
	// Write is messages 75 and, with response, 77, answered by Session.Written or GATTError. The
	// value belongs to the backend.
	Write(s *Session, a ble.Address, handle uint16, value []byte, response bool)
	// Notify is message 78, answered by Session.NotifySet or GATTError.
	Notify(s *Session, a ble.Address, handle uint16, enable bool)
	// SetConnectionParams is message 145, answered by Session.ConnectionParamsSet.
	SetConnectionParams(s *Session, a ble.Address, p ble.ConnectionParams)
}

// ConnectRequest is a request to connect.
type ConnectRequest struct {
	Address ble.Address
	// Type is valid if HasType; firmware since 2025.9 refuses a request without.
	Type    ble.AddressType
	HasType bool
	// Cached: the client knows the database and does not want it discovered.
	Cached bool
	// Legacy is request type 0, which firmware since 2025.8 refuses.
	Legacy bool
}

// Device is what the device says of itself (ESPHome native API, message 10).
type Device struct {
	Name           string // node name, at most 31 bytes
	FriendlyName   string
	MAC            string // AA:BB:CC:DD:EE:FF of its network interface
	BluetoothMAC   string // of its radio; "" before 2025.5
	ESPHomeVersion string
	CompiledAt     string
	Model          string
	Manufacturer   string
	ProjectName    string
	ProjectVersion string
	SuggestedArea  string
	DeepSleep      bool
	Via            []string // daemons that it comes through, see apiwire.Via
	Features       ble.Features
	// LegacyProxyVersion is sent by firmware with an API below 1.9 instead of Features.
	LegacyProxyVersion uint32
	// Said is message 10 of another device, in whose place this one is: what it says is passed on, also what this program
	// does not know, but for the names and addresses above, the features, encryption, and where its web page is. Nil:
	// none.
	Said []byte
	// Capabilities is the other device's message 150, passed on likewise. Nil: none.
	Capabilities []byte
}
