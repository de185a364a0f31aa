package replay

import (
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
)

// interfaceFacts gives interfaces, members, signatures and access of a node. Children are left out.
func interfaceFacts(t *testing.T, text []byte) (facts []string) {
	t.Helper()
	type member struct {
		XMLName   xml.Name
		Name      string `xml:"name,attr"`
		Type      string `xml:"type,attr"`
		Access    string `xml:"access,attr"`
		Direction string `xml:"direction,attr"`
		Args      []struct {
			Type      string `xml:"type,attr"`
			Direction string `xml:"direction,attr"`
		} `xml:"arg"`
	}
	var node struct {
		Interfaces []struct {
			Name    string   `xml:"name,attr"`
			Members []member `xml:",any"`
		} `xml:"interface"`
	}
	if err := xml.Unmarshal(text, &node); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	for _, i := range node.Interfaces {
		if ignored.MatchString(i.Name) {
			continue
		}
		facts = append(facts, i.Name)
		for _, m := range i.Members {
			switch kind := m.XMLName.Local; kind {
			case "property":
				facts = append(facts, fmt.Sprintf("%s property %s %s %s", i.Name, m.Name, m.Type, m.Access))
			case "method", "signal":
				var args []string
				for _, a := range m.Args {
					if a.Direction == "" {
						a.Direction = map[string]string{"method": "in", "signal": "out"}[kind]
					}
					args = append(args, a.Direction+" "+a.Type)
				}
				facts = append(facts, fmt.Sprintf("%s %s %s(%s)", i.Name, kind, m.Name, strings.Join(args, ", ")))
			}
		}
	}
	return facts
}
