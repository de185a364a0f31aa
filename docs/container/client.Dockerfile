# A program that uses Bluetooth, here bluetoothctl.
FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends bluez
