package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// maxFile bounds the file, in bytes. Thousands of proxies take a small part of that.
const maxFile = 4 << 20

// Load reads and validates the file at path. A file that cannot be read gives an error
// that wraps the operating system's; mistakes in it give an *Error.
func Load(path string) (*Config, error) {
	return newLoader(path).load()
}

// Parse validates data as if it were the file called name: key files are looked for in its directory. Mistakes give an
// *Error.
func Parse(data []byte, name string) (*Config, error) {
	return newLoader(name).parse(data)
}

// loader is one reading of a file. Its functions replace the machine's in tests.
type loader struct {
	path   string
	getenv func(string) string
	fsys   files
	root   bool // running as root
	report *reporter
	out    *Config
	inline bool        // the file itself holds keys or passwords
	mode   fs.FileMode // its permissions; 0 if it is no file
}

// files reads the files that the configuration names.
type files interface {
	Stat(name string) (fs.FileInfo, error)
	ReadFile(name string) ([]byte, error)
}

type osFiles struct{}

func (osFiles) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }
func (osFiles) ReadFile(name string) ([]byte, error)  { return os.ReadFile(name) }

func newLoader(path string) *loader {
	return &loader{path: path, getenv: os.Getenv, fsys: osFiles{}, root: os.Geteuid() == 0}
}

func (l *loader) load() (*Config, error) {
	info, err := l.fsys.Stat(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("cannot read configuration %s: %w; --config FILE names another one, configs/bluez-esphome.yaml is the documented example", l.path, fs.ErrNotExist)
	case errors.Is(err, fs.ErrPermission):
		return nil, unreadable(l.path)
	case err != nil:
		return nil, fmt.Errorf("cannot read configuration %s: %w", l.path, reason(err))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("cannot read configuration %s: not a regular file; name the file itself", l.path)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("cannot read configuration %s: %d bytes are more than the %d allowed", l.path, info.Size(), maxFile)
	}
	data, err := l.fsys.ReadFile(l.path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, unreadable(l.path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read configuration %s: %w", l.path, reason(err))
	}
	l.mode = info.Mode().Perm()
	return l.parse(data)
}

func unreadable(path string) error {
	return fmt.Errorf("cannot read configuration %s: %w; run this as root, or as a user who can read it and its folder", path, fs.ErrPermission)
}

func (l *loader) parse(data []byte) (*Config, error) {
	l.report = &reporter{file: l.path, lines: map[string]int{}, env: map[string]string{}, broken: map[string]bool{}, meant: map[string]bool{}}
	l.out = &Config{Path: l.path}
	tree, err := l.tree(data)
	if err != nil {
		return nil, err
	}
	r, err := l.decode(tree)
	if err != nil {
		return nil, err
	}
	l.validate(r)
	if l.inline && l.mode&0o006 != 0 {
		l.report.atLine(0, "", "chmod 0640 it (o-rw), or put each key into a file of its own and name that by noise_psk_file",
			"it holds keys or passwords, and everybody may read or write it (mode %04o)", l.mode)
	}
	if err := l.report.err(); err != nil {
		return nil, err
	}
	return l.out, nil
}

// tree parses the YAML and keeps only keys that the schema has.
func (l *loader) tree(data []byte) (map[string]any, error) {
	if len(data) > maxFile {
		l.report.atLine(0, "", "", "%d bytes are more than the %d allowed", len(data), maxFile)
		return nil, l.report.err()
	}
	if line, odd, plain := lookalike(data); line > 0 {
		l.report.atLine(line, "", fmt.Sprintf("type a plain %s in its place", plain),
			"not valid YAML: the line has a character that only looks like a %s (%U)", plain, odd)
		return nil, l.report.err()
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	err := dec.Decode(&doc)
	if err == nil {
		err = dec.Decode(new(yaml.Node))
		if err == nil {
			err = errDocuments
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		line, what, remedy := explain(data, err)
		l.report.atLine(line, "", remedy, "not valid YAML: %s", what)
		return nil, l.report.err()
	}
	if len(doc.Content) == 0 { // nothing but comments
		return map[string]any{}, nil
	}
	root := reflect.TypeFor[raw]()
	l.report.lines[""] = doc.Content[0].Line
	w := &walker{reporter: l.report, keys: allKeys(root, "")}
	m, _ := w.value(doc.Content[0], root, "").(map[string]any)
	if m == nil {
		m = map[string]any{}
	}
	return m, nil
}

// decode makes viper combine defaults, file and environment. Keys are joined by a byte that no key contains: viper
// splits keys at its delimiter and lower-cases them, so that it would tear a name with a dot apart.
func (l *loader) decode(tree map[string]any) (*raw, error) {
	const delimiter = "\x1f"
	v := viper.NewWithOptions(viper.KeyDelimiter(delimiter))
	for k, d := range defaults() {
		v.SetDefault(strings.ReplaceAll(k, ".", delimiter), d)
	}
	_, autoAdd := tree["auto_add"]
	if err := v.MergeConfigMap(tree); err != nil {
		return nil, fmt.Errorf("cannot read configuration %s: %w", l.path, err)
	}
	for _, k := range scalarKeys() {
		if value := l.getenv(envName(k)); value != "" {
			v.Set(strings.ReplaceAll(k, ".", delimiter), value)
			l.report.env[k] = envName(k)
		}
	}
	var r raw
	if err := v.UnmarshalExact(&r); err != nil {
		return nil, fmt.Errorf("cannot read configuration %s: %w", l.path, err)
	}
	if autoAdd && r.AutoAdd == nil { // an empty group means plaintext; viper drops it
		r.AutoAdd = &rawAutoAdd{}
	}
	return &r, nil
}

// resolve finds a key file. systemd's LoadCredential=keys:… hands on keys/kitchen as keys_kitchen; the same file is
// found where the program runs without systemd.
func (l *loader) resolve(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	folder := filepath.Dir(l.path)
	path := filepath.Join(folder, name)
	if strings.ContainsRune(name, filepath.Separator) {
		return path
	}
	var others []string
	if dir := l.getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		others = append(others, filepath.Join(dir, name))
	}
	if key, ok := strings.CutPrefix(name, "keys_"); ok && len(others) == 0 {
		others = append(others, filepath.Join(folder, "keys", key))
	}
	for _, other := range others {
		if _, err := l.fsys.Stat(other); err == nil {
			return other
		}
	}
	return path
}
