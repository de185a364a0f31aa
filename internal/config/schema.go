package config

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// walker turns a YAML tree into the plain maps, lists and strings that the schema allows
// and reports everything else. What it reports it leaves out, so that the rest is still
// checked.
type walker struct {
	*reporter
	keys []string // all keys of the schema, dotted, lists as "proxies[]"
}

// field finds the struct field for a key, or nil.
func fieldOf(t reflect.Type, key string) reflect.Type {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("mapstructure") == key {
			if f.Type.Kind() == reflect.Pointer {
				return f.Type.Elem()
			}
			return f.Type
		}
	}
	return nil
}

// keysOf lists the keys of a raw structure, in order.
func keysOf(t reflect.Type) []string {
	out := make([]string, t.NumField())
	for i := range out {
		out[i] = t.Field(i).Tag.Get("mapstructure")
	}
	return out
}

// allKeys lists every dotted key below t.
func allKeys(t reflect.Type, prefix string) []string {
	switch t.Kind() {
	case reflect.Pointer:
		return allKeys(t.Elem(), prefix)
	case reflect.Slice:
		return allKeys(t.Elem(), prefix+"[]")
	case reflect.Struct:
		var out []string
		for i := range t.NumField() {
			k := join(prefix, t.Field(i).Tag.Get("mapstructure"))
			out = append(append(out, k), allKeys(t.Field(i).Type, k)...)
		}
		return out
	}
	return nil
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

// value converts node to the form of t: map[string]any, []any or string; nil if it is
// null or was reported.
func (w *walker) value(node *yaml.Node, t reflect.Type, key string) any {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return nil
	}
	if strings.HasPrefix(node.Tag, "!") && !strings.HasPrefix(node.Tag, "!!") { // such as ESPHome's !secret and !include
		w.wrong(key, "write the value itself, or for a key noise_psk_file: PATH", "%s is not known here", clip(node.Tag))
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		if node.Kind != yaml.MappingNode {
			w.wrong(key, w.groupRemedy(node, t, key), "want a group of keys, not %s", describe(node))
			return nil
		}
		return w.mapping(node, t, key)
	case reflect.Slice:
		if node.Kind != yaml.SequenceNode {
			w.wrong(key, listRemedy(node, t.Elem(), key), "want a list, not %s", describe(node))
			return nil
		}
		out := make([]any, 0, len(node.Content))
		for i, item := range node.Content {
			k := key + "[" + strconv.Itoa(i) + "]"
			w.lines[k] = item.Line
			v := w.value(item, t.Elem(), k)
			if v == nil { // keep the numbering
				w.broken[k] = item.Tag != "!!null"
				v = empty(t.Elem())
			}
			out = append(out, v)
		}
		return out
	}
	if node.Kind != yaml.ScalarNode {
		remedy := ""
		switch ip, err := netip.ParseAddr(firstOf(node)); {
		case !strings.HasPrefix(key, "proxies[") || !strings.HasSuffix(key, ".address"):
		case err == nil && len(node.Content) == 1:
			remedy = "write address: " + ip.String()
		default:
			remedy = "list each proxy as an entry of its own"
		}
		w.wrong(key, remedy, "want one value, not %s", describe(node))
		return nil
	}
	return node.Value
}

// firstOf is the first value of a list, or the first key of a group.
func firstOf(node *yaml.Node) string {
	if len(node.Content) == 0 {
		return ""
	}
	return node.Content[0].Value
}

// wrong reports a value of the wrong form. Nothing else is reported of it: that it is missing, say.
func (w *walker) wrong(key, remedy, format string, args ...any) {
	w.at(key, remedy, format, args...)
	w.broken[key] = true
}

// listRemedy says what to write where a list of elem is wanted and something else was found.
func listRemedy(node *yaml.Node, elem reflect.Type, key string) string {
	switch node.Kind {
	case yaml.ScalarNode:
		if write := plainEntry(key, node.Value); write != "" {
			return write + " on a line of its own below it"
		}
	case yaml.MappingNode:
		if len(node.Content) < 2 || key != "proxies" || fieldOf(elem, node.Content[0].Value) != nil {
			break
		}
		if write := namedEntry(node.Content[0].Value, node.Content[1]); write != "" {
			return write
		}
	}
	return `begin each entry on a line of its own with "- "`
}

// groupRemedy says what to write where a group of keys is wanted and something else was found.
func (w *walker) groupRemedy(node *yaml.Node, t reflect.Type, key string) string {
	if node.Kind == yaml.ScalarNode {
		list, _, _ := strings.Cut(key, "[")
		write := plainEntry(list, node.Value)
		switch {
		case key == "auto_add": // as with a switch
			return "write {} to use every proxy without encryption, {noise_psk_file: PATH} for those with that key, or null"
		case key != list && write != "":
			return write
		}
	}
	if key == "" && node.Kind == yaml.SequenceNode {
		return `write "proxies:" above it`
	}
	return "its keys are " + strings.Join(keysOf(t), ", ")
}

func empty(t reflect.Type) any {
	if t.Kind() == reflect.Struct {
		return map[string]any{}
	}
	return ""
}

func (w *walker) mapping(node *yaml.Node, t reflect.Type, prefix string) map[string]any {
	out := make(map[string]any, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		k, v := node.Content[i], node.Content[i+1]
		key := join(prefix, k.Value)
		ft := fieldOf(t, k.Value)
		if k.Kind != yaml.ScalarNode || ft == nil {
			w.unknown(node, prefix, k, v, keysOf(t))
			continue
		}
		if _, dup := out[k.Value]; dup {
			w.atLine(k.Line, key, "remove one of them", "is already given in line %d", w.lines[key])
			continue
		}
		w.lines[key] = k.Line
		out[k.Value] = w.value(v, ft, key)
	}
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

// unknown reports a key of group that a group at prefix, with the keys here, does not have.
func (w *walker) unknown(group *yaml.Node, prefix string, key, value *yaml.Node, here []string) {
	if key.Kind != yaml.ScalarNode {
		w.atLine(key.Line, prefix, "known here are "+strings.Join(here, ", "), "unknown key %s", quoteKey(key))
		return
	}
	if name, _, glued := strings.Cut(key.Value, ":"); glued { // the rest may be a secret
		w.atLine(key.Line, prefix, "write KEY: VALUE, with a space after the colon", "no space stands behind %q", clip(name)+":")
		return
	}
	remedy := w.elsewhere(group, prefix, key.Value)
	meant := meantKey(prefix, key.Value)
	switch {
	case meant != "":
		remedy = howToWrite(group, prefix, key.Value, meant, value)
	case remedy == "":
		remedy, meant = w.suggest(prefix, key.Value, here)
		if write := namedEntry(key.Value, value); meant == "" && write != "" && strings.HasPrefix(prefix, "proxies[") && len(group.Content) == 2 {
			remedy, meant = write, "address"
		}
	}
	if meant != "" {
		w.meant[join(prefix, meant)] = true
	}
	w.atLine(key.Line, prefix, remedy, "unknown key %s", quoteKey(key))
}

// suggest names the key that was probably meant: one of this group, one that stands elsewhere, or else all
// keys of this group. meant is the key if it is one of this group.
func (w *walker) suggest(prefix, got string, here []string) (remedy, meant string) {
	got = strings.ToLower(got)
	best, dist := nearest(got, here)
	for _, k := range here { // "alias" for "adapter_alias"
		if len(got) >= 3 && slices.Contains(strings.Split(k, "_"), got) {
			best, dist = k, 0
			break
		}
	}
	if dist <= max(1, len(got)/3) {
		return fmt.Sprintf("did you mean %q?", best), best
	}
	for _, k := range w.keys {
		if k[strings.LastIndexByte(k, '.')+1:] == got && k != prefix {
			return fmt.Sprintf("it stands elsewhere, as %q", k), ""
		}
	}
	known := "known here are " + strings.Join(here, ", ")
	if 2*dist < len(got) {
		return fmt.Sprintf("the nearest known key is %q; %s", best, known), best
	}
	return known, ""
}

// nearest gives the candidate with the smallest edit distance.
func nearest(got string, candidates []string) (string, int) {
	best, dist := "", 1<<30
	for _, c := range candidates {
		if d := distance(got, c); d < dist {
			best, dist = c, d
		}
	}
	return best, dist
}

// distance is Levenshtein's; only the first bytes of a long text count, for speed.
func distance(a, b string) int {
	a = a[:min(len(a), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func quoteKey(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		return describe(n)
	}
	return strconv.Quote(clip(n.Value))
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a group of keys"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		return "a single value"
	}
	return "an alias"
}

// clip keeps messages short whatever the file holds.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// scalarKeys lists the keys that environment variables may set, sorted.
func scalarKeys() []string { return slices.Sorted(maps.Keys(defaults())) }

// envName is the environment variable of a key.
func envName(key string) string {
	return "BLUEZ_ESPHOME_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}
