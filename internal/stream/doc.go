// Package stream publishes the merged air to an MQTT broker: what the table learns, once each, as the other fronts see
// it, and the states of the daemon and its proxies as retained messages.
//
//	relay ──adverts──> intake: filter, rates ──> queue, bounded ──> session with the broker
//
// The intake runs in the goroutine that read the advertisements and waits for nobody: what does not fit the queue pushes
// out the oldest message, which is counted. One goroutine takes from the queue, encodes and writes; it alone waits for the
// broker. CONNECT, keep-alive, QoS 1 and DISCONNECT are paho's; messages of QoS 0 are framed here and go to the socket
// many at a time, since each would cost a system call and a dozen allocations otherwise.
//
// docs/mqtt.md describes topics and messages.
package stream
