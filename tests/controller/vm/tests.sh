# tests.sh runs in the machine, and runs the tests of this package. The programs are copied to memory: a wait for the
# host is idle time, which the clock of the machine skips.
export BLUEZ_ESPHOME_MACHINE=yes
cp bluez-esphome vm.test /tmp
exec /tmp/vm.test -bin /tmp/bluez-esphome -test.v
