// Package load is the benchmarks' other side: ESPHome proxies that send what they are told to, as fast as they are told
// to, and do nothing else. It runs in a process of its own, so that its CPU time is nobody's. The proxies answer
// without delay; what they send was encoded before, and is the same bytes in each run.
package load

// Spec is what a load consists of.
type Spec struct {
	Proxies int `json:"proxies"`
	// Devices is how many devices there are, and Hears how many of them each proxy hears; 0: all of them. Neighbours hear
	// the same ones in part.
	Devices int `json:"devices"`
	Hears   int `json:"hears,omitempty"`
	// First is the number of the first device: loads with others have other devices.
	First int `json:"first,omitempty"`
	// PSK is the key of every proxy in base64; "" is plaintext.
	PSK string `json:"psk"`
	// Frame is how many advertisements are in one message, at most 16 in the firmware.
	Frame int `json:"frame"`
	// Mix names what the devices send: MixHome or MixSensors.
	Mix string `json:"mix"`
	// ChangeEvery is after how many rounds of all devices the changing payloads change; 0 is never.
	ChangeEvery int `json:"change_every"`
	// GATT makes the first device connectable: it is Address, with the characteristics Value and Ticks.
	GATT bool `json:"gatt"`
}

// Command is one line of standard input.
type Command struct {
	// Do is "wait" (until every proxy has a subscriber), "send", "notify" or "latency".
	Do string `json:"do"`
	// Count is how many advertisements are sent in all, or how many notifications or, for the latency, frames.
	Count int `json:"count,omitempty"`
	// Rate is advertisements per second; 0 is as fast as they are read.
	Rate float64 `json:"rate,omitempty"`
	// Address is where the daemon passes the advertisements on whose latency is measured.
	Address string `json:"address,omitempty"`
}

// Answer is one line of standard output: the first one has the addresses, and each command gets one.
type Answer struct {
	Addresses []string `json:"addresses,omitempty"`
	Error     string   `json:"error,omitempty"`
	// Count is how many advertisements or notifications were sent, Frames in how many messages.
	Count  int `json:"count,omitempty"`
	Frames int `json:"frames,omitempty"`
	// Seconds is the time until every proxy's subscriber had answered a ping that was sent last, and so had
	// read everything before it.
	Seconds float64 `json:"seconds,omitempty"`
	// P50 and P99 are the median and the 99th percentile of latencies in seconds.
	P50 float64 `json:"p50,omitempty"`
	P99 float64 `json:"p99,omitempty"`
	// Behind is by how many seconds the sending was late at the end.
	Behind float64 `json:"behind,omitempty"`
}
