# tests.sh runs in the machine: the tests of this package. To wait for the host is idle time, which the clock skips: what is run is in memory.
export BLUEZ_ESPHOME_MACHINE=yes
cp bluez-esphome vm.test /tmp
exec /tmp/vm.test -bin /tmp/bluez-esphome -test.v
