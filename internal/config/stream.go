package config

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"bluez-esphome/internal/ble"
)

// MQTT is the broker to which the merged air is published; off while Host is empty.
type MQTT struct {
	// Host is a name or an IP address without brackets; Port is 1…65535.
	Host string
	Port uint16
	// TLS says that the session is encrypted: by the certificates of the system, or by those of CAFile alone. CertFile
	// and KeyFile are what this host shows itself by, both or none. The paths are absolute, or relative to the working
	// directory as the configuration itself was named.
	TLS                       bool
	CAFile, CertFile, KeyFile string
	// ServerName is what the broker's certificate must be for; empty means Host.
	ServerName string
	// ClientID is what the broker knows this host by; empty means one that is made of the adapter's address.
	ClientID string
	User     string
	Password Password
	// Topic is what all topics begin with, Site filled in.
	Topic string
	// Site tells this daemon from others in topics and messages.
	Site   string
	Format StreamFormat
	// QoS is 0 or 1.
	QoS byte
	// AtMostEvery is for how long after a message of a device there is no other one of it; 0: each change is a message.
	// AtLeastEvery is after which time a device that is heard is published again though nothing changed; 0: never.
	AtMostEvery, AtLeastEvery time.Duration
	// Queue is how many messages wait for the broker at most, 100…1000000.
	Queue  int
	Filter StreamFilter
}

// StreamFilter says which devices are published: all if it is empty, else those that any of its entries fits.
type StreamFilter struct {
	Addresses []ble.Address
	// UUIDs are of services that a device lists or gives data for; Companies are identifiers of manufacturer data.
	UUIDs     []ble.UUID
	Companies []uint16
	// Names are patterns of path.Match.
	Names []string
}

// Empty reports whether every device is published.
func (f StreamFilter) Empty() bool {
	return len(f.Addresses)+len(f.UUIDs)+len(f.Companies)+len(f.Names) == 0
}

// StreamFormat is the form of messages.
type StreamFormat string

// Formats of messages: our own, and what OpenMQTTGateway and Theengs Gateway have for advertisements that are still to be
// decoded.
const (
	StreamJSON      StreamFormat = "json"
	StreamUndecoded StreamFormat = "undecoded"
)

// topics are the beginnings of topics where none is configured.
var topics = map[StreamFormat]string{StreamJSON: "bluez-esphome/{site}", StreamUndecoded: "home/{site}"}

// Bounds of what a broker has to take. MQTT allows 65,535 bytes for each.
const (
	maxTopic       = 200
	maxClientID    = 128
	maxFilter      = 10_000 // entries of one list
	maxAtMostEvery = time.Hour
	maxAtLeast     = 24 * time.Hour
)

// stream reads stream.mqtt. It comes behind proxies.
func (l *loader) stream(r *rawMQTT) {
	const key = "stream.mqtt"
	rep, m := l.report, &l.out.MQTT
	m.Format = oneOf(rep, key+".format", r.Format, StreamJSON, StreamUndecoded)
	m.QoS = byte(l.number(key+".qos", r.QoS, 0, 1))
	m.AtMostEvery = l.duration(key+".at_most_every", r.AtMostEvery, 0, maxAtMostEvery)
	m.AtLeastEvery = l.duration(key+".at_least_every", r.AtLeastEvery, 0, maxAtLeast)
	if m.AtLeastEvery > 0 { // who sets the other one alone does not mean a contradiction
		m.AtLeastEvery = max(m.AtLeastEvery, m.AtMostEvery)
	}
	m.Queue = l.number(key+".queue", r.Queue, 100, 1_000_000)
	m.ServerName = r.TLS.ServerName
	m.CAFile, m.CertFile, m.KeyFile = l.certificate("ca_file", r.TLS.CAFile), l.certificate("cert_file", r.TLS.CertFile), l.certificate("key_file", r.TLS.KeyFile)
	if (m.CertFile == "") != (m.KeyFile == "") {
		rep.at(key+".tls", "give both, or none", "cert_file and key_file belong together")
	}
	m.User, m.Password = r.User, l.password(key, r.Password, r.PasswordFile)
	if m.Password.IsSet() && m.User == "" {
		rep.at(key+".user", "give the user that the password is of", "is missing")
	}
	if m.ClientID = r.ClientID; len(m.ClientID) > maxClientID || CheckName(clip(m.ClientID)) != nil && m.ClientID != "" {
		rep.at(key+".client_id", "letters, digits and hyphens do with every broker", "%q is not a client's name of up to %d bytes", clip(r.ClientID), maxClientID)
	}
	l.site(m, r)
	m.Filter = l.streamFilter(&r.Filter)
	if r.URL == "" {
		*m = MQTT{} // what is wrong was said all the same
		return
	}
	l.broker(m, r.URL)
}

// site reads site and topic.
func (l *loader) site(m *MQTT, r *rawMQTT) {
	const key = "stream.mqtt"
	if m.Site = r.Site; m.Site == "" {
		name, err := os.Hostname()
		m.Site, _, _ = strings.Cut(name, ".")
		if err != nil || CheckName(m.Site) != nil || strings.ContainsAny(m.Site, "+#") {
			m.Site = "bluez-esphome"
		}
	} else if err := CheckName(m.Site); err != nil {
		l.report.at(key+".site", "it is one level of a topic", "%q %v", clip(r.Site), err)
	} else if strings.ContainsAny(m.Site, "+#") {
		l.report.at(key+".site", "it is one level of a topic", "%q has + or #, which subscribers use as wildcards", clip(r.Site))
	}
	topic := r.Topic
	if topic == "" {
		topic = topics[m.Format]
	}
	m.Topic = strings.ReplaceAll(topic, "{site}", m.Site)
	switch {
	case strings.ContainsAny(topic, "+#"):
		l.report.at(key+".topic", `such as "bluez-esphome/{site}"`, "%q has + or #, which are for subscribers", clip(topic))
	case strings.HasPrefix(topic, "/") || strings.HasSuffix(topic, "/") || strings.Contains(topic, "//"):
		l.report.at(key+".topic", `such as "bluez-esphome/{site}"`, "%q has an empty level: a / begins it, ends it or follows another", clip(topic))
	case strings.HasPrefix(topic, "$") || len(m.Topic) > maxTopic || strings.ContainsFunc(topic, func(c rune) bool { return c < ' ' || c == 0x7f || c == 0xfffd }):
		l.report.at(key+".topic", `such as "bluez-esphome/{site}"`, "%q is not a topic of up to %d bytes that a client may publish to", clip(topic), maxTopic)
	}
}

// schemes of brokers: ours, whether it is encrypted, and its port.
var schemes = map[string]struct {
	tls  bool
	port uint16
}{"mqtt": {false, 1883}, "mqtts": {true, 8883}}

// broker reads url. What it says of it never holds the user's part, which may be a password.
func (l *loader) broker(m *MQTT, text string) {
	const key, form = "stream.mqtt.url", `write mqtt://HOST, mqtt://HOST:PORT, or mqtts:// for TLS`
	if !strings.Contains(text, "://") {
		l.report.at(key, form, "the scheme is missing")
		return
	}
	u, err := url.Parse(text)
	if err != nil {
		l.report.at(key, form, "it is not a URL")
		return
	}
	scheme, known := schemes[u.Scheme]
	switch {
	case u.User != nil:
		l.report.at(key, "give them as user and password_file: a URL is shown in log and status", "user and password do not belong there")
		return
	case u.Scheme == "tcp" || u.Scheme == "ssl" || u.Scheme == "tls" || u.Scheme == "mqtt+ssl":
		l.report.at(key, form, "the scheme %s is called otherwise here", u.Scheme)
		return
	case u.Scheme == "ws" || u.Scheme == "wss":
		l.report.at(key, form, "MQTT over WebSockets is not spoken here")
		return
	case !known:
		l.report.at(key, form, "%q is not a scheme of MQTT", clip(u.Scheme))
		return
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		l.report.at(key, "what all topics begin with is the key topic", "nothing stands behind the port")
		return
	}
	host, port := u.Hostname(), scheme.port
	if p := u.Port(); p != "" {
		if port, err = parsePort(p); err != nil {
			l.report.at(key, form, "%v", err)
			return
		}
	}
	if name, _, _ := strings.Cut(host, "%"); checkListenHost(name) != nil {
		l.report.at(key, form, "%q is not a host", clip(host))
		return
	}
	m.Host, m.Port, m.TLS = host, port, scheme.tls
	at := net.JoinHostPort(host, strconv.Itoa(int(port)))
	if !m.TLS && (m.CAFile != "" || m.CertFile != "" || m.ServerName != "") {
		l.report.at("stream.mqtt.tls", "write mqtts:// in url, or remove tls", "the session with the broker is not encrypted")
	}
	if !m.TLS && m.Password.IsSet() && !isLoopback(at) {
		l.out.Warnings = append(l.out.Warnings, fmt.Sprintf("%s: the password goes to %s unencrypted: mqtts:// encrypts it", l.report.where(key), at))
	}
}

// certificate gives the path of a file of stream.mqtt.tls that can be read.
func (l *loader) certificate(name, file string) string {
	if file == "" {
		return ""
	}
	key := "stream.mqtt.tls." + name
	path := l.resolve(file)
	info, err := l.fsys.Stat(path)
	switch {
	case err != nil:
		l.report.at(key, "the path is relative to the configuration file", "cannot use %s: %s", clip(path), reason(err))
	case name == "key_file" && info.Mode().Perm()&0o006 != 0:
		l.report.at(key, "chmod 0600 it", "cannot use %s: everybody may read or write it (mode %04o)", clip(path), info.Mode().Perm())
	}
	return path
}

// password reads the password of the group at prefix, from the file or from beside it.
func (l *loader) password(prefix, inline, file string) Password {
	key := prefix + ".password"
	if inline != "" && file != "" {
		l.report.at(key+"_file", "remove one of them", "password is given too")
		return Password{}
	}
	if file == "" {
		l.inline = l.inline || inline != "" && l.report.env[key] == ""
		return NewPassword(inline)
	}
	path := l.resolve(file)
	text, problem, fix := l.readKey(path)
	if problem == "" && text == "" {
		problem = "it is empty"
	}
	if problem != "" {
		l.report.at(key+"_file", fix, "cannot use %s: %s", clip(path), problem)
	}
	return NewPassword(text)
}

// streamFilter reads the lists of stream.mqtt.filter.
func (l *loader) streamFilter(r *rawStreamFilter) (f StreamFilter) {
	const key = "stream.mqtt.filter."
	for _, list := range []struct {
		name, want string
		entries    []string
		add        func(string) bool
	}{
		{"addresses", "write AA:BB:CC:DD:EE:FF", r.Addresses, func(s string) bool {
			a, err := ble.ParseAddress(s)
			f.Addresses = append(f.Addresses, a)
			return err == nil
		}},
		{"uuids", `write 4, 8 or 36 characters, such as "fcd2"`, r.UUIDs, func(s string) bool {
			u, err := ble.ParseUUID(s)
			f.UUIDs = append(f.UUIDs, u)
			return err == nil
		}},
		{"companies", `write the identifier as a number, such as "0x0499"`, r.Companies, func(s string) bool {
			n, err := strconv.ParseUint(s, 0, 16)
			f.Companies = append(f.Companies, uint16(n))
			return err == nil
		}},
		{"names", `* stands for anything and ? for one character: "Ruuvi*"`, r.Names, func(s string) bool {
			_, err := path.Match(s, "")
			f.Names = append(f.Names, s)
			return err == nil && s != ""
		}},
	} {
		if len(list.entries) > maxFilter {
			l.report.at(key+list.name, "filter where the messages are read", "%d entries are more than %d", len(list.entries), maxFilter)
			continue
		}
		for i, s := range list.entries {
			if !list.add(s) {
				l.report.at(fmt.Sprintf("%s%s[%d]", key, list.name, i), list.want, "cannot use %q", clip(s))
			}
		}
	}
	return f
}
