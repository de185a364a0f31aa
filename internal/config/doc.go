// Package config reads the configuration file. Load gives a validated value with every default filled in, or one error
// that lists all mistakes at once, each with file, line and remedy. Scalar keys may be overridden by environment
// variables: BLUEZ_ESPHOME_ and the key in upper case, with an underscore between levels (BLUEZ_ESPHOME_LOG_LEVEL). A
// Config is never changed after it was returned; a reload makes a new one. Functions here are safe to call from several
// goroutines.
package config
