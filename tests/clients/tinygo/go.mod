module bluez-esphome/tests/clients/tinygo

go 1.26

require tinygo.org/x/bluetooth v0.17.0

require github.com/godbus/dbus/v5 v5.1.0 // indirect
