# tests.sh runs in the machine: the tests of this package.
export BLUEZ_ESPHOME_MACHINE=yes
exec ./vm.test -bin /host/bluez-esphome -test.v
