package config

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxDevices bounds max_devices; a device costs about a kilobyte.
const maxDevices = 1 << 20

// validate fills l.out from r and reports every mistake.
func (l *loader) validate(r *raw) {
	c, rep := l.out, l.report
	var err error
	c.Bus, err = ParseBus(r.Bus)
	if err != nil {
		rep.at("bus", "", "%q: %v", clip(r.Bus), err)
	}
	c.StateDir = l.stateDir(r.StateDir)
	c.Adapters = oneOf(rep, "adapters", r.Adapters, AdaptersMerged, AdaptersPerProxy)
	c.AdapterAlias = r.AdapterAlias
	if r.AdapterAlias == "" || len(r.AdapterAlias) > 248 || strings.ContainsRune(r.AdapterAlias, 0) {
		rep.at("adapter_alias", "", "want 1 to 248 bytes of text") // the limit of a Bluetooth name
	}
	c.Link = Link{
		PingAfter: l.duration("link.ping_after", r.Link.PingAfter, 100*time.Millisecond, time.Hour),
		DeadAfter: l.duration("link.dead_after", r.Link.DeadAfter, 100*time.Millisecond, time.Hour),
	}
	if c.Link.DeadAfter <= c.Link.PingAfter && c.Link.DeadAfter > 0 {
		rep.at("link.dead_after", "make it longer", "%s is not longer than ping_after, %s: no proxy could answer in time", r.Link.DeadAfter, r.Link.PingAfter)
	}
	c.Connect = Connect{
		Timeout:  l.duration("connect.timeout", r.Connect.Timeout, time.Second, 10*time.Minute),
		PerPath:  l.duration("connect.per_path", r.Connect.PerPath, 100*time.Millisecond, 10*time.Minute),
		SlotWait: l.duration("connect.slot_wait", r.Connect.SlotWait, 0, 10*time.Minute),
	}
	for _, k := range []struct {
		key  string
		text string
		d    time.Duration
	}{{"connect.per_path", r.Connect.PerPath, c.Connect.PerPath}, {"connect.slot_wait", r.Connect.SlotWait, c.Connect.SlotWait}} {
		if c.Connect.Timeout > 0 && k.d > c.Connect.Timeout {
			rep.at(k.key, "make it shorter", "%s is longer than timeout, %s, which bounds it", k.text, r.Connect.Timeout)
		}
	}
	c.MaxDevices = l.number("max_devices", r.MaxDevices, 1, maxDevices)
	l.proxies(r.Proxies)
	l.devices(r.Devices, r.AutoAdd != nil)
	if r.AutoAdd != nil {
		c.AutoAdd = &AutoAdd{NoisePSK: l.psk("auto_add", "", r.AutoAdd.NoisePSKFile)}
	}
	l.share(&r.Share)
	l.controllers(r.HCI, r.AutoAdd != nil)
	l.stream(&r.Stream.MQTT)
	if r.HTTP.Listen != "" {
		c.HTTP.Listen, err = loopbackListen(r.HTTP.Listen)
		if err != nil {
			rep.at("http.listen", `"127.0.0.1:9551" is for this host only, "0.0.0.0:9551" for everybody who can reach it`, "%v", err)
		}
	}
	l.log(&r.Log)
	if len(r.Proxies) == 0 && c.AutoAdd == nil {
		c.Warnings = append(c.Warnings, l.path+": no proxies: list them under \"proxies\", or set auto_add; until then nothing is heard")
	}
}

// stateDir gives the directory for state: the configured one, else systemd's, else the usual one of root or of the
// user.
func (l *loader) stateDir(configured string) string {
	if configured != "" {
		if !filepath.IsAbs(configured) {
			l.report.at("state_dir", "begin it with /", "%q is not an absolute path", clip(configured))
		}
		return configured
	}
	if dir, _, _ := strings.Cut(l.getenv("STATE_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		return dir
	}
	if l.root {
		return systemStateDir
	}
	if dir := userStateDir(l.getenv); dir != "" {
		return dir
	}
	l.report.at("state_dir", "set it", "there is no default: neither XDG_STATE_HOME nor HOME is set")
	return ""
}

// systemStateDir is where the daemon of the system keeps its state.
const systemStateDir = "/var/lib/bluez-esphome"

// userStateDir is where a user's daemon does, "" if the environment does not tell.
func userStateDir(getenv func(string) string) string {
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) { // relative ones are invalid by the XDG specification
		return filepath.Join(dir, "bluez-esphome")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "bluez-esphome")
	}
	return ""
}

// StateDirs are the usual values of Config.StateDir: that of this user's daemon, and that of the system's.
func StateDirs() []string {
	dirs := []string{systemStateDir}
	if dir := userStateDir(os.Getenv); dir != "" {
		dirs = append([]string{dir}, dirs...)
	}
	return dirs
}

func (l *loader) share(r *rawShare) {
	c, rep := l.out, l.report
	c.Share = Share{Listen: r.Listen, Names: r.Names, NoisePSK: l.psk("share", r.NoisePSK, r.NoisePSKFile)}
	if c.Share.NoisePSK.IsSet() && r.Identity != string(IdentityOriginal) && slices.ContainsFunc(c.Proxies, func(p Proxy) bool { return p.NoisePSK == c.Share.NoisePSK }) {
		rep.at("share.noise_psk", newKey, "the key is that of a proxy: who has it could use the proxy itself")
	}
	c.Share.InUse = oneOf(rep, "share.in_use", r.InUse, InUseShare, InUseRefuse)
	c.Share.Offer = oneOf(rep, "share.offer", r.Offer, ShareEach, ShareMerged)
	c.Share.Identity = oneOf(rep, "share.identity", r.Identity, IdentityOwn, IdentityOriginal)
	if c.Share.Identity == IdentityOriginal && c.Share.Offer == ShareMerged {
		rep.at("share.identity", "set it to own, or offer to each", "all proxies as one are none of the original devices")
	}
	c.Share.BasePort = uint16(l.number("share.base_port", r.BasePort, 1, 65535))
	if r.Listen != "" {
		if err := checkListenHost(r.Listen); err != nil {
			rep.at("share.listen", "name an address of this host without port, 0.0.0.0 for all", "%q: %v", clip(r.Listen), err)
		}
		if last := int(c.Share.BasePort) + len(l.out.Proxies) - 1; last > 65535 && c.Share.Offer == ShareEach {
			rep.at("share.base_port", "lower it", "%d proxies from port %d on end at %d, above 65535", len(l.out.Proxies), c.Share.BasePort, last)
		}
	}
	if strings.Count(r.Names, "{name}") != 1 || CheckName(strings.Replace(r.Names, "{name}", "x", 1)) != nil || r.Names == "{name}" {
		rep.at("share.names", `"{name}-shared" is usual: the name must differ from the proxy's own`, "%q must hold {name} once and something besides", clip(r.Names))
	}
}

func (l *loader) log(r *rawLog) {
	rep := l.report
	l.out.Log.Format = oneOf(rep, "log.format", r.Format, LogAuto, LogText, LogJSON)
	switch oneOf(rep, "log.level", r.Level, "debug", "info", "warn", "error") {
	case "debug":
		l.out.Log.Level = slog.LevelDebug
	case "warn":
		l.out.Log.Level = slog.LevelWarn
	case "error":
		l.out.Log.Level = slog.LevelError
	}
	l.out.Log.Redact = oneOf(rep, "log.redact", r.Redact, "false", "true") == "true"
}

// oneOf accepts one of a few words, or the first if the value is empty.
func oneOf[T ~string](rep *reporter, key, got string, words ...T) T {
	if got == "" {
		return words[0]
	}
	if slices.Contains(words, T(got)) {
		return T(got)
	}
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = string(w)
	}
	remedy := ""
	if best, d := nearest(strings.ToLower(got), list); d <= min(2, len(got)/2) || got != "" && strings.HasPrefix(strings.ToLower(got), best) {
		remedy = fmt.Sprintf("did you mean %q?", best)
	}
	rep.at(key, remedy, "%q is not one of %s", clip(got), strings.Join(list, ", "))
	return words[0]
}

// duration reads a duration with a unit. It returns 0 after it has reported a mistake.
func (l *loader) duration(key, got string, low, high time.Duration) time.Duration {
	d, err := time.ParseDuration(got)
	switch {
	case err != nil:
		remedy := `write number and unit, such as "10s" or "500ms"`
		if _, nerr := strconv.ParseFloat(got, 64); nerr == nil {
			remedy = fmt.Sprintf("a unit is missing: %ss?", got)
		}
		l.report.at(key, remedy, "%q is not a duration", clip(got))
	case d < low || d > high:
		l.report.at(key, "", "%s is not between %s and %s", got, low, high)
		return 0
	}
	return d
}

func (l *loader) number(key, got string, low, high int) int {
	n, err := strconv.Atoi(got)
	if err != nil || n < low || n > high {
		l.report.at(key, "", "%q is not a whole number from %d to %d", clip(got), low, high)
		return low
	}
	return n
}
