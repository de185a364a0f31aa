package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// People know a proxy's settings from its ESPHome configuration, from Home Assistant or from aioesphomeapi, and write
// them here under the same names. These are not accepted, since a configuration with two spellings of each key is hard
// to read and to search. But the error has the line to write instead.

// foreign maps such a name to the key of a proxy's entry that means the same.
var foreign = map[string]string{
	"host": "address", "hostname": "address", "ip": "address", "ip_address": "address", "use_address": "address",
	"url": "address", "server": "address", "addr": "address",
	"key": "noise_psk", "psk": "noise_psk", "encryption": "noise_psk", "encryption_key": "noise_psk", "api": "noise_psk",
	"api_key": "noise_psk", "noise": "noise_psk", "api_encryption_key": "noise_psk",
	"friendly_name": "name", "device_name": "name", "node_name": "name", "id": "name",
	"mac_address": "mac",
}

// inGroup maps a proxy's key to the key that means the same in another group.
var inGroup = map[string]map[string]string{
	"share":    {"address": "listen", "noise_psk": "noise_psk", "name": "names"},
	"auto_add": {"noise_psk": "noise_psk_file"},
}

// esphomeSections are sections of an ESPHome configuration. Who writes them here has confused the two files.
var esphomeSections = []string{"esphome", "esp32", "wifi", "ethernet", "ota", "logger", "bluetooth_proxy", "esp32_ble_tracker"}

// meantKey gives the key of the group at prefix that the user probably meant by word, or "".
func meantKey(prefix, word string) string {
	word = strings.ToLower(word)
	if strings.HasPrefix(prefix, "proxies[") {
		return foreign[word]
	}
	return inGroup[prefix][cmp.Or(foreign[word], word)]
}

// howToWrite is the remedy for a word that means key. It shows the value unless that is a secret.
func howToWrite(prefix, key string, value *yaml.Node) string {
	switch {
	case key == "noise_psk" && prefix == "share":
		return `write noise_psk: "KEY", with a key of its own: openssl rand -base64 32`
	case key == "noise_psk":
		return `write noise_psk: "KEY", with the value of api: encryption: key: from the device's ESPHome configuration`
	case key == "noise_psk_file":
		return "write noise_psk_file: PATH, and put the value of api: encryption: key: into that file (mode 0600)"
	case value.Kind == yaml.ScalarNode && value.Value != "":
		return fmt.Sprintf("write %s: %s", key, clip(value.Value))
	}
	return fmt.Sprintf("write %s: VALUE", key)
}

// elsewhere is the remedy for a word that belongs to another group or file, or "".
func (w *walker) elsewhere(prefix, word string) string {
	word = strings.ToLower(word)
	switch {
	case strings.HasPrefix(prefix, "proxies[") && word == "port":
		return "the port is part of the address: write address: HOST:PORT"
	case prefix == "share" && word == "port":
		return "write base_port: PORT"
	case prefix == "http" && (word == "port" || word == "host" || word == "address"):
		return "write listen: HOST:PORT, such as 127.0.0.1:9551"
	case prefix == "" && foreign[word] != "" && word != "api" && word != "encryption":
		return fmt.Sprintf(`it belongs to an entry of "proxies", where it is called %q`, foreign[word])
	case prefix == "" && (word == "api" || word == "encryption"):
		return `this is not the ESPHome configuration: the value of api: encryption: key: belongs to an entry of "proxies", as noise_psk`
	case prefix == "" && slices.Contains(esphomeSections, word):
		return `this is not the ESPHome configuration: list the device under "proxies", with its address`
	}
	return ""
}

// plainEntry is the remedy for an entry of a list that is a single value instead of a group of keys, or "".
func plainEntry(list, value string) string {
	switch {
	case list == "proxies":
		if _, _, err := SplitAddress(value); err != nil {
			value = "HOST"
		}
		return fmt.Sprintf(`write "- address: %s"`, clip(value))
	case list == "devices":
		return `write '- address: "AA:BB:CC:DD:EE:FF"', and pin, prefer or deny below it`
	}
	return ""
}
