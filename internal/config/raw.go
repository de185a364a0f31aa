package config

// The raw structures are the schema: the walker over the YAML tree and viper both follow the
// tags. Every scalar is text here, so that neither YAML nor viper guesses at types
// (a name "true", a host "1.10"); validate gives it its type.

type raw struct {
	Bus          string          `mapstructure:"bus"`
	StateDir     string          `mapstructure:"state_dir"`
	Adapters     string          `mapstructure:"adapters"`
	AdapterAlias string          `mapstructure:"adapter_alias"`
	Proxies      []rawProxy      `mapstructure:"proxies"`
	Devices      []rawDevice     `mapstructure:"devices"`
	AutoAdd      *rawAutoAdd     `mapstructure:"auto_add"`
	Link         rawLink         `mapstructure:"link"`
	Connect      rawConnect      `mapstructure:"connect"`
	MaxDevices   string          `mapstructure:"max_devices"`
	Share        rawShare        `mapstructure:"share"`
	HCI          []rawController `mapstructure:"hci"`
	Stream       rawStream       `mapstructure:"stream"`
	HTTP         rawHTTP         `mapstructure:"http"`
	Log          rawLog          `mapstructure:"log"`
}

type rawProxy struct {
	Address      string `mapstructure:"address"`
	NoisePSK     string `mapstructure:"noise_psk"`
	NoisePSKFile string `mapstructure:"noise_psk_file"`
	Name         string `mapstructure:"name"`
	MAC          string `mapstructure:"mac"`
	Password     string `mapstructure:"password"`
	ScanMode     string `mapstructure:"scan_mode"`
	OnConflict   string `mapstructure:"on_conflict"`
	OnNoSlot     string `mapstructure:"on_no_slot"`
}

type rawDevice struct {
	Address string   `mapstructure:"address"`
	Pin     string   `mapstructure:"pin"`
	Prefer  []string `mapstructure:"prefer"`
	Deny    []string `mapstructure:"deny"`
}

type rawAutoAdd struct {
	NoisePSKFile string `mapstructure:"noise_psk_file"`
}

type rawLink struct {
	PingAfter string `mapstructure:"ping_after"`
	DeadAfter string `mapstructure:"dead_after"`
}

type rawConnect struct {
	Timeout  string `mapstructure:"timeout"`
	PerPath  string `mapstructure:"per_path"`
	SlotWait string `mapstructure:"slot_wait"`
}

type rawShare struct {
	Listen       string `mapstructure:"listen"`
	BasePort     string `mapstructure:"base_port"`
	NoisePSK     string `mapstructure:"noise_psk"`
	NoisePSKFile string `mapstructure:"noise_psk_file"`
	Names        string `mapstructure:"names"`
	InUse        string `mapstructure:"in_use"`
	Offer        string `mapstructure:"offer"`
	Identity     string `mapstructure:"identity"`
}

type rawController struct {
	VHCI    string   `mapstructure:"vhci"`
	PTY     string   `mapstructure:"pty"`
	Unix    string   `mapstructure:"unix"`
	TCP     string   `mapstructure:"tcp"`
	Proxies []string `mapstructure:"proxies"`
}

type rawStream struct {
	MQTT rawMQTT `mapstructure:"mqtt"`
}

type rawMQTT struct {
	URL          string          `mapstructure:"url"`
	ClientID     string          `mapstructure:"client_id"`
	User         string          `mapstructure:"user"`
	Password     string          `mapstructure:"password"`
	PasswordFile string          `mapstructure:"password_file"`
	TLS          rawStreamTLS    `mapstructure:"tls"`
	Site         string          `mapstructure:"site"`
	Topic        string          `mapstructure:"topic"`
	Format       string          `mapstructure:"format"`
	QoS          string          `mapstructure:"qos"`
	AtMostEvery  string          `mapstructure:"at_most_every"`
	AtLeastEvery string          `mapstructure:"at_least_every"`
	Queue        string          `mapstructure:"queue"`
	Filter       rawStreamFilter `mapstructure:"filter"`
}

type rawStreamTLS struct {
	CAFile     string `mapstructure:"ca_file"`
	CertFile   string `mapstructure:"cert_file"`
	KeyFile    string `mapstructure:"key_file"`
	ServerName string `mapstructure:"server_name"`
}

type rawStreamFilter struct {
	Addresses []string `mapstructure:"addresses"`
	UUIDs     []string `mapstructure:"uuids"`
	Companies []string `mapstructure:"companies"`
	Names     []string `mapstructure:"names"`
}

type rawHTTP struct {
	Listen string `mapstructure:"listen"`
}

type rawLog struct {
	Level  string `mapstructure:"level"`
	Format string `mapstructure:"format"`
	Redact string `mapstructure:"redact"`
}

// defaults gives every scalar key outside lists its default: viper lets an environment
// variable set only keys that it knows. state_dir's depends on who runs the program.
func defaults() map[string]string {
	return map[string]string{
		"bus":                         "system",
		"state_dir":                   "",
		"adapters":                    "merged",
		"adapter_alias":               "ESPHome proxies",
		"link.ping_after":             "10s",
		"link.dead_after":             "20s",
		"connect.timeout":             "20s",
		"connect.per_path":            "8s",
		"connect.slot_wait":           "5s",
		"max_devices":                 "16384",
		"share.listen":                "",
		"share.base_port":             "16053",
		"share.noise_psk":             "",
		"share.noise_psk_file":        "",
		"share.names":                 "{name}-shared",
		"share.in_use":                "share",
		"share.offer":                 "each",
		"share.identity":              "own",
		"http.listen":                 "",
		"stream.mqtt.url":             "",
		"stream.mqtt.client_id":       "",
		"stream.mqtt.user":            "",
		"stream.mqtt.password":        "",
		"stream.mqtt.password_file":   "",
		"stream.mqtt.tls.ca_file":     "",
		"stream.mqtt.tls.cert_file":   "",
		"stream.mqtt.tls.key_file":    "",
		"stream.mqtt.tls.server_name": "",
		"stream.mqtt.site":            "",
		"stream.mqtt.topic":           "",
		"stream.mqtt.format":          "json",
		"stream.mqtt.qos":             "0",
		"stream.mqtt.at_most_every":   "0s",
		"stream.mqtt.at_least_every":  "30s",
		"stream.mqtt.queue":           "10000",
		"log.level":                   "info",
		"log.format":                  "auto",
		"log.redact":                  "false",
	}
}
