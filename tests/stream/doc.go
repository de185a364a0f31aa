// Package stream tests the stream of advertisements to a real MQTT broker, and unmodified programs that read it there.
package stream
