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
		"bus":                  "system",
		"state_dir":            "",
		"adapters":             "merged",
		"adapter_alias":        "ESPHome proxies",
		"link.ping_after":      "10s",
		"link.dead_after":      "20s",
		"connect.timeout":      "20s",
		"connect.per_path":     "8s",
		"connect.slot_wait":    "5s",
		"max_devices":          "16384",
		"share.listen":         "",
		"share.base_port":      "16053",
		"share.noise_psk":      "",
		"share.noise_psk_file": "",
		"share.names":          "{name}-shared",
		"share.in_use":         "share",
		"share.offer":          "each",
		"share.identity":       "own",
		"http.listen":          "",
		"log.level":            "info",
		"log.format":           "auto",
		"log.redact":           "false",
	}
}
