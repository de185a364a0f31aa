package config

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// FuzzParse: whatever the file holds, there is a configuration or a list of mistakes
// with lines of the file, and what was accepted keeps its promises.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../../configs/bluez-esphome.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	mistakes, err := os.ReadFile("testdata/mistakes.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range strings.Split(string(mistakes), "=== ")[1:] {
		_, rest, _ := strings.Cut(text, "\n")
		input, _, _ := strings.Cut(rest, "---\n")
		f.Add([]byte(input))
	}
	f.Add([]byte("proxies: [{address: '[::1]:7', noise_psk: " + testKey + "}]\ndevices: [{address: '00:00:00:00:00:01', deny: [a]}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := testLoader(nil, nil).parse(data)
		if err != nil {
			typed := (*Error)(nil)
			if c != nil || !errors.As(err, &typed) || len(typed.Issues) == 0 || len(typed.Issues) > maxIssues {
				t.Fatalf("config %v, error %v", c, err)
			}
			for _, is := range typed.Issues {
				if is.Line < 0 || is.What == "" {
					t.Fatalf("issue %+v", is)
				}
			}
			return
		}
		for _, p := range c.Proxies {
			if p.Host == "" || p.Port == 0 || p.Line == 0 {
				t.Fatalf("proxy %+v", p)
			}
		}
		if c.Link.DeadAfter <= c.Link.PingAfter || c.Connect.PerPath > c.Connect.Timeout || c.MaxDevices < 1 {
			t.Fatalf("config %+v", c)
		}
	})
}
