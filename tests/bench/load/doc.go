// Package load is the other side of the benchmarks: ESPHome proxies that send advertisements at the rate that they are
// told, and do nothing else. It runs in a process of its own, so that no figure includes its CPU time. The proxies
// answer without delay. Their messages are encoded beforehand, and are the same bytes in each run.
package load

// Spec is what a load consists of.
type Spec struct {
	Proxies int `json:"proxies"`
	// Devices is the number of devices, and Hears the number that each proxy hears; 0 is all of them. Neighbouring
	// proxies hear some of the same devices.
	Devices int `json:"devices"`
	Hears   int `json:"hears,omitempty"`
	// First is the number of the first device: two loads with different numbers can have different devices.
	First int `json:"first,omitempty"`
	// PSK is the key of every proxy in base64; "" is plaintext.
	PSK string `json:"psk"`
	// Frame is the number of advertisements in one message; the firmware sends at most 16.
	Frame int `json:"frame"`
	// Mix names what the devices send: MixHome or MixSensors.
	Mix string `json:"mix"`
	// ChangeEvery is the number of rounds of all devices after which the changing payloads change; 0 is never.
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
