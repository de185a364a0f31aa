// Package stream tests the stream of advertisements to a real MQTT broker, unmodified programs that read it there, and one
// daemon behind another.
package stream
