package replay

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// event is one entry of a recording.
type event = map[string]any

// ignored are interfaces that a central made of proxies never has, or always has.
var ignored = regexp.MustCompile(`^org\.bluez\.(Media1|MediaControl1|NetworkServer1|Network1|AdminPolicySet1|AdminPolicyStatus1|SimAccess1|HealthManager1|` +
	`Bearer\.LE1|Bearer\.BREDR1|GattManager1|LEAdvertisingManager1|BatteryProviderManager1|AdvertisementMonitorManager1)$|^org\.bluez_esphome`)

// volatile are properties that are facts about the host.
var volatile = regexp.MustCompile(`^org\.bluez\.(Adapter1\.(Address|Name|Alias|Modalias|UUIDs|Class|Manufacturer|Version|ExperimentalFeatures)|Device1\.RSSI)$`)

// volatileInReply are their names, for replies to GetAll.
var volatileInReply = regexp.MustCompile(`^(Address|Name|Alias|Modalias|UUIDs|Class|Manufacturer|Version|ExperimentalFeatures|RSSI)$`)

// advertised properties say, if repeated with the same value, only that the device was heard again.
var advertised = regexp.MustCompile(`\.(ManufacturerData|ServiceData|AdvertisingFlags|AdvertisingData)$`)

// excused are differences that docs/quirks.md lists: what bluetoothd says there, and what this program says.
var excused = []struct{ theirs, ours *regexp.Regexp }{
	{regexp.MustCompile(` org\.bluez\.Adapter1\.Roles = .*"central","peripheral"`), regexp.MustCompile(` org\.bluez\.Adapter1\.Roles = .*\["central"\]`)},
	{regexp.MustCompile(` org\.bluez\.GattService1\.Includes = `), regexp.MustCompile(` org\.bluez\.GattService1\.Includes = .*\[\]`)},
	{regexp.MustCompile(` org\.bluez\.GattService1\.Primary = .*false`), regexp.MustCompile(` org\.bluez\.GattService1\.Primary = .*true`)},
	{regexp.MustCompile(`^case discovery\.start_bredr `), regexp.MustCompile(`^case discovery\.start_bredr org\.bluez\.Error\.InProgress `)},
	{regexp.MustCompile(`^case discovery\.stop_bredr `), regexp.MustCompile(`^case discovery\.stop_bredr org\.bluez\.Error\.Failed `)},
	// Regular discovery shows devices without discoverable flags, too; the recording does not mention them.
	{regexp.MustCompile(`^$`), regexp.MustCompile(`^(added|removed|changed|invalidated|objects\[[^]]*\]) \S+/dev_<beacon> `)},
}

func isExcused(fact string, ours bool) bool {
	for _, e := range excused {
		if ours && e.ours.MatchString(fact) || !ours && e.theirs.MatchString(fact) {
			return true
		}
	}
	return false
}

// norm turns events into facts.
type norm struct {
	names *strings.Replacer
	last  map[string]string // advertised properties
}

// newNorm makes one for the devices and the adapter, as GetAll gives it.
func newNorm(devices, adapter map[string]any) *norm {
	var pairs []string
	for _, id := range slices.Sorted(maps.Keys(devices)) {
		a := devices[id].(string)
		pairs = append(pairs, a, "<"+id+">", strings.ReplaceAll(a, ":", "_"), "<"+id+">")
	}
	for key, name := range map[string]string{"Address": "<adapter>", "Alias": "<adapter-name>", "Name": "<adapter-name>"} {
		p, _ := adapter[key].(map[string]any)
		if v, ok := p["value"].(string); ok && len(v) > 4 {
			pairs = append(pairs, v, name)
		}
	}
	return &norm{names: strings.NewReplacer(pairs...), last: map[string]string{}}
}

func (n *norm) text(v any) string { return strings.TrimRight(n.names.Replace(text(v)), "\n") }

func (n *norm) prop(path any, iface, name string, v any) string {
	value := "<volatile>"
	if !volatile.MatchString(iface + "." + name) {
		value = n.text(v)
	}
	return fmt.Sprintf("%s %s.%s = %s", n.text(path), iface, name, value)
}

func (n *norm) interfaces(prefix, path string, ifaces map[string]any) (facts []string) {
	if strings.HasPrefix(path, "/bluez_esphome") {
		return nil
	}
	for iface, props := range ifaces {
		if ignored.MatchString(iface) {
			continue
		}
		facts = append(facts, fmt.Sprintf("%s %s %s", prefix, n.text(path), iface))
		for name, v := range props.(map[string]any) {
			facts = append(facts, prefix+" "+n.prop(path, iface, name, v))
		}
	}
	return facts
}

// signal gives the facts of a signal.
func (n *norm) signal(e event) (facts []string) {
	iface, _ := e["interface"].(string)
	path, _ := e["path"].(string)
	args, _ := e["args"].([]any)
	if ignored.MatchString(iface) || strings.HasPrefix(path, "/bluez_esphome") {
		return nil
	}
	switch e["member"] {
	case "PropertiesChanged":
		of := args[0].(string)
		if ignored.MatchString(of) {
			return nil
		}
		for name, v := range args[1].(map[string]any) {
			if of+"."+name != "org.bluez.Device1.RSSI" {
				facts = append(facts, "changed "+n.prop(path, of, name, v))
			}
		}
		for _, name := range args[2].([]any) {
			facts = append(facts, fmt.Sprintf("invalidated %s %s.%s", n.text(path), of, name))
		}
	case "InterfacesAdded":
		facts = n.interfaces("added", args[0].(string), args[1].(map[string]any))
	case "InterfacesRemoved":
		for _, of := range args[1].([]any) {
			if !ignored.MatchString(of.(string)) {
				facts = append(facts, fmt.Sprintf("removed %s %s", n.text(args[0]), of))
			}
		}
	default:
		facts = append(facts, fmt.Sprintf("signal %s %s.%s %s", n.text(path), iface, e["member"], n.text(args)))
	}
	return n.news(facts)
}

// news drops advertised values that are known already.
func (n *norm) news(facts []string) (news []string) {
	slices.Sort(facts)
	for _, f := range facts {
		kind, rest, _ := strings.Cut(f, " ")
		key, value, found := strings.Cut(rest, " = ")
		if found && (kind == "changed" || kind == "added") && advertised.MatchString(key) {
			again := n.last[key] == value && kind == "changed"
			n.last[key] = value
			if again {
				continue
			}
		}
		news = append(news, f)
	}
	return news
}

// reply gives the result of a call.
func (n *norm) reply(e event) string {
	if e["error"] != nil {
		return fmt.Sprintf("%s | %s", e["error"], n.text(e["message"]))
	}
	values, _ := e["value"].([]any)
	if len(values) == 1 {
		if all, ok := values[0].(map[string]any); ok { // a reply to GetAll
			flat := map[string]any{}
			for k, v := range all {
				if volatileInReply.MatchString(k) {
					v = "<volatile>"
				}
				flat[k] = v
			}
			values = []any{flat}
		}
	}
	return "ok " + n.text(values)
}

// objects gives the facts of a snapshot.
func (n *norm) objects(label string, objects map[string]any) (facts []string) {
	for path, ifaces := range objects {
		if m, ok := ifaces.(map[string]any); ok {
			facts = append(facts, n.interfaces("objects["+label+"]", path, m)...)
		}
	}
	slices.Sort(facts)
	return facts
}
