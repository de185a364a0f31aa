// Package stream tests the stream of the merged air to a real MQTT broker, and what programs behind it make of it.
package stream
