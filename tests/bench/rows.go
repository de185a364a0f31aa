package main

import (
	"context"
	"fmt"
	"time"
)

// row is one promise of the program, or a few of a kind.
type row struct {
	key, title, about string
	run               func(context.Context, *world, *result) error
}

func rows() []row {
	return []row{
		{"flood", "CPU per advertisement, flood, nobody discovering", aboutFlood, flood},
		{"paced", "CPU per advertisement, 12,000 a second, nobody discovering", aboutPaced, paced},
		{"home", "A home: 8 encrypted proxies, 100 devices, 800 advertisements a second", aboutHome, home},
		{"emit", "CPU per emitted PropertiesChanged, flood", aboutEmit, emit},
		{"managed", "GetManagedObjects, 1,000 devices", aboutManaged, managed},
		{"rss", "Memory", aboutMemory, memory},
		{"start", "Process start to the first device", aboutBegin, begin},
		{"gatt", "GATT read through D-Bus", aboutGatt, gatt},
		{"connect", "Connect, to the end of the list of services", aboutConnect, connect},
		{"absent", "Devices that are off and wanted for ever", aboutAbsent, absent},
		{"notify", "Notifications", aboutNotify, notify},
		{"growth", "Growth", aboutGrowth, growth},
		{"share", "Latency of a shared proxy", aboutShare, share},
		{"stream", "A message to a broker", aboutStream, streamed},
		{"controller", "A virtual controller", aboutController, controller},
		{"relayed", "Messages of the rest of a shared device", aboutRelayed, relayed},
		{"page", "The live page, 300 devices and 12 proxies", aboutPage, page},
		{"siege", "What others can take from somebody", aboutSiege, siege},
	}
}

// find gives the row with that key.
func find(key string) (row, error) {
	var keys []string
	for _, r := range rows() {
		if r.key == key {
			return r, nil
		}
		keys = append(keys, r.key)
	}
	return row{}, fmt.Errorf("there is no row %q; there are %q", key, keys)
}

// micros converts a duration to microseconds.
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
