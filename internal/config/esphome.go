package config

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// People know a proxy's settings from its ESPHome configuration, from Home Assistant or from aioesphomeapi, and write
// them here under the same names. These are not accepted, since a configuration with two spellings of each key is hard
// to read and to search. But the error has the line to write instead.

// foreign maps such a name, as plain writes it, to the key of a proxy's entry that means the same.
var foreign = map[string]string{
	"host": "address", "hostname": "address", "ip": "address", "ipaddress": "address", "useaddress": "address",
	"url": "address", "server": "address", "addr": "address",
	"key": "noise_psk", "psk": "noise_psk", "encryption": "noise_psk", "encryptionkey": "noise_psk", "api": "noise_psk",
	"apikey": "noise_psk", "noise": "noise_psk", "noisekey": "noise_psk", "apiencryptionkey": "noise_psk",
	"keyfile": "noise_psk_file", "pskfile": "noise_psk_file", "encryptionkeyfile": "noise_psk_file", "apikeyfile": "noise_psk_file",
	"friendlyname": "name", "devicename": "name", "nodename": "name", "id": "name",
	"macaddress": "mac", "apipassword": "password",
}

// inGroup maps a proxy's key, or a name as plain writes it, to the key that means the same in another group.
var inGroup = map[string]map[string]string{
	"share":       {"address": "listen", "noise_psk": "noise_psk", "noise_psk_file": "noise_psk_file", "name": "names"},
	"auto_add":    {"noise_psk": "noise_psk_file", "noise_psk_file": "noise_psk_file"},
	"stream.mqtt": {"address": "url", "broker": "url", "username": "user", "pass": "password"},
}

// esphomeSections are sections of an ESPHome configuration. Who writes them here has confused the two files.
var esphomeSections = []string{
	"esphome", "esp32", "esp8266", "rp2040", "ln882x", "substitutions", "packages", "external_components", "wifi", "captive_portal", "ethernet", "ota",
	"logger", "web_server", "bluetooth_proxy", "esp32_ble", "esp32_ble_tracker", "sensor", "binary_sensor", "text_sensor", "switch", "button", "interval",
}

// listsOfProxies are names, as plain writes them, that were meant to be the list of proxies.
var listsOfProxies = []string{"proxy", "bluetoothproxies", "esphomeproxies", "hosts", "addresses", "nodes"}

// plain writes a name without capitals, hyphens, underscores and spaces, which people set as they are used to.
func plain(word string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(word))
}

// meantKey gives the key of the group at prefix that the user probably meant by word, or "".
func meantKey(prefix, word string) string {
	word = plain(word)
	if strings.HasPrefix(prefix, "proxies[") {
		return foreign[word]
	}
	return inGroup[prefix][cmp.Or(foreign[word], word)]
}

// meantValue is the value in group whose key is key or was meant to be, "" if there is none.
func meantValue(group *yaml.Node, prefix, key string) string {
	for i := 0; i+1 < len(group.Content); i += 2 {
		if k := group.Content[i].Value; k == key || meantKey(prefix, k) == key {
			return group.Content[i+1].Value
		}
	}
	return ""
}

// howToWrite is the remedy for a word in group that means key. It shows the value unless that is a secret.
func howToWrite(group *yaml.Node, prefix, word, key string, value *yaml.Node) string {
	switch {
	case key == "noise_psk" && prefix == "share":
		return `write noise_psk: "KEY", with a key of its own: openssl rand -base64 32`
	case key == "noise_psk":
		return `write noise_psk: "KEY", with the value of api: encryption: key: from the device's ESPHome configuration`
	case key == "noise_psk_file" && !strings.HasSuffix(plain(word), "file"):
		return "write noise_psk_file: PATH, and put the value of api: encryption: key: into that file (mode 0600)"
	case key == "password":
		return "write password: PASSWORD"
	case key == "url":
		return "write url: " + brokerURL(group)
	case key == "address" && strings.HasPrefix(prefix, "proxies["):
		return "write address: " + quoted(proxyAddress(group, prefix))
	case value.Kind == yaml.ScalarNode && value.Value != "":
		return fmt.Sprintf("write %s: %s", key, clip(value.Value))
	}
	return fmt.Sprintf("write %s: VALUE", key)
}

// proxyAddress joins what an entry of proxies has of its address, with HOST and PORT for what is missing.
func proxyAddress(entry *yaml.Node, prefix string) string {
	address, port := addressIn(meantValue(entry, prefix, "address")), meantValue(entry, prefix, "port")
	_, perr := parsePort(port)
	switch {
	case address == "" && port == "":
		return "HOST"
	case address == "":
		return "HOST:" + portOr(port, "PORT")
	case perr != nil:
		return address
	}
	host, _, err := SplitAddress(address)
	if err != nil || strings.HasSuffix(address, ":"+port) {
		return address
	}
	return net.JoinHostPort(host, port)
}

// brokerURL is the same for the address of a broker.
func brokerURL(group *yaml.Node) string {
	host := addressIn(meantValue(group, "stream.mqtt", "url"))
	if host == "" {
		host = "HOST"
	}
	if strings.Contains(host, ":") {
		return "mqtt://" + host
	}
	return "mqtt://" + host + ":" + portOr(meantValue(group, "stream.mqtt", "port"), "1883")
}

func portOr(port, other string) string {
	if _, err := parsePort(port); err != nil {
		return other
	}
	return port
}

// elsewhere is the remedy for a word in group that belongs to another group or file, or "".
func (w *walker) elsewhere(group *yaml.Node, prefix, word string) string {
	word = strings.ToLower(word)
	is := foreign[plain(word)]
	switch {
	case word == "<<":
		return "keys of another entry are not taken over: write them here"
	case strings.HasPrefix(prefix, "proxies[") && word == "port":
		return "the port is part of the address: write address: " + quoted(proxyAddress(group, prefix))
	case prefix == "stream.mqtt" && word == "port":
		return "the port is part of the URL: write url: " + brokerURL(group)
	case prefix == "share" && word == "port":
		return "write base_port: PORT"
	case prefix == "http" && (word == "port" || word == "host" || word == "address"):
		return "write listen: HOST:PORT, such as 127.0.0.1:9551"
	case prefix == "" && is != "" && word != "api" && word != "encryption":
		return fmt.Sprintf(`it belongs to an entry of "proxies", where it is called %q`, is)
	case prefix == "" && is != "":
		return `this is not the ESPHome configuration: the value of api: encryption: key: belongs to an entry of "proxies", as noise_psk`
	case prefix == "" && slices.Contains(esphomeSections, word):
		return `this is not the ESPHome configuration: list the device under "proxies", with its address`
	case prefix == "" && slices.Contains(listsOfProxies, plain(word)):
		return `did you mean "proxies"?`
	}
	return ""
}

// addressIn finds the address of a proxy in what somebody wrote in its place: a URL, or the key before it without a
// space. It is "" if there is none.
func addressIn(text string) string {
	if _, rest, found := strings.Cut(text, "://"); found {
		text, _, _ = strings.Cut(rest, "/")
	}
	if _, _, err := SplitAddress(text); err == nil {
		return text
	}
	text = strings.TrimLeft(strings.TrimPrefix(text, "address"), " :=\t\u00a0")
	if _, _, err := SplitAddress(text); err == nil {
		return text
	}
	return ""
}

// quoted puts quotes around an address that YAML takes for a list without them.
func quoted(address string) string {
	if strings.HasPrefix(address, "[") {
		return "'" + address + "'"
	}
	return address
}

// namedEntry is the remedy for a proxy whose name was written as a key, or "".
func namedEntry(name string, value *yaml.Node) string {
	if CheckName(name) != nil {
		return ""
	}
	if value.Kind == yaml.MappingNode {
		return fmt.Sprintf(`write "- name: %s", and its other keys below it`, name)
	}
	if address := addressIn(value.Value); address != "" && value.Kind == yaml.ScalarNode {
		return fmt.Sprintf(`write "- {name: %s, address: %s}"`, name, quoted(address))
	}
	return ""
}

// plainEntry is the remedy for an entry of a list that is a single value instead of a group of keys, or "".
func plainEntry(list, value string) string {
	switch {
	case list == "proxies":
		return fmt.Sprintf(`write "- address: %s"`, clip(cmp.Or(quoted(addressIn(value)), "HOST")))
	case list == "devices":
		return `write '- address: "AA:BB:CC:DD:EE:FF"', and pin, prefer or deny below it`
	}
	return ""
}
