package main

import "github.com/spf13/cobra"

// examples are shown in the help of each command.
var examples = map[string]string{
	"capture": `  bluez-esphome capture bug.btsnoop --redact
  bluez-esphome capture lamp.btsnoop --device AA:BB:CC:DD:EE:FF --time 10m
  btmon -r bug.btsnoop                   # or open it in Wireshark`,
	"check": `  bluez-esphome check                    # the configuration at its usual place
  bluez-esphome check my.yaml --try      # and try whether each proxy answers`,
	"demo": `  bluez-esphome demo
  bluez-esphome demo --exec 'bluetoothctl --timeout 5 scan le'`,
	"devices": `  bluez-esphome devices --sort weak      # those that want another proxy nearby
  bluez-esphome devices --proxy kitchen
  bluez-esphome devices thermo --json | jq '.heard[].sources'`,
	"discover":  `  bluez-esphome discover`,
	"provision": `  bluez-esphome provision kitchen`,
	"reload":    `  bluez-esphome reload --pid $MAINPID    # ExecReload= of the units`,
	"run": `  bluez-esphome run --config my.yaml --bus private
  kill -HUP PID                          # read the configuration again`,
	"simulate": `  bluez-esphome simulate --listen 127.0.0.1:6053 --name kitchen
  bluez-esphome simulate --proxy attic=127.0.0.1:6054 --peripherals my.json`,
	"status": `  bluez-esphome status
  bluez-esphome status kitchen           # a proxy
  bluez-esphome status "Hallway 42"      # a device: why did it not connect?
  bluez-esphome status --check           # for a health check
  bluez-esphome status --json | jq '.connects[0]'`,
	"take":    `  bluez-esphome take kitchen`,
	"version": `  bluez-esphome version`,
}

func addExamples(root *cobra.Command) {
	for _, c := range root.Commands() {
		c.Example = examples[c.Name()]
	}
}
