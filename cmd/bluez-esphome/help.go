package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// helpWidth is how many columns a help has at most, which every terminal has; examples are left as they are.
const helpWidth = 80

// sayHelp gives the commands the help of this program: within a terminal's width, and its own commands and cobra's in
// one style.
func sayHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short = "show the help of a command"
		case "completion":
			c.Short = "print a script with which a shell completes commands, flags and names"
		}
	}
	root.SetUsageFunc(func(c *cobra.Command) error {
		writeUsage(c.OutOrStderr(), c)
		return nil
	})
	root.SetHelpFunc(func(c *cobra.Command, _ []string) {
		about := c.Long
		if about == "" {
			about = c.Short
		}
		fmt.Fprintf(c.OutOrStdout(), "%s\n\n", paragraphs(about))
		writeUsage(c.OutOrStdout(), c)
	})
}

func writeUsage(w io.Writer, c *cobra.Command) {
	fmt.Fprint(w, "Usage:\n")
	if c.Runnable() {
		fmt.Fprintf(w, "  %s\n", c.UseLine())
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "  %s [command]\n", c.CommandPath())
	}
	if c.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s\n", c.Example)
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprint(w, "\nCommands:\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() || sub.Name() == "help" {
				name := fmt.Sprintf("  %-*s  ", sub.NamePadding(), sub.Name())
				fmt.Fprintln(w, fill(name, strings.Repeat(" ", len(name)), sub.Short))
			}
		}
	}
	if c.HasAvailableLocalFlags() {
		fmt.Fprintf(w, "\nFlags:\n%s", c.LocalFlags().FlagUsagesWrapped(helpWidth))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n%s [command] --help says more about a command.\n", c.CommandPath())
	}
}

// listHead is a line of a list up to its second column.
var listHead = regexp.MustCompile(`^ +(\S+ {2,})?`)

// paragraphs fills the paragraphs of a text, which empty lines part; lines that are indented are lists.
func paragraphs(text string) string {
	var out []string
	words := ""
	end := func() {
		if words != "" {
			out = append(out, fill("", "", words))
		}
		words = ""
	}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		switch {
		case line == "":
			end()
			out = append(out, "")
		case strings.HasPrefix(line, " "):
			end()
			head := listHead.FindString(line)
			out = append(out, fill(head, strings.Repeat(" ", len([]rune(head))), line[len(head):]))
		default:
			words += " " + line
		}
	}
	end()
	return strings.Join(out, "\n")
}

// fill breaks a text into lines, the first of them after first, the others after rest.
func fill(first, rest, text string) string {
	var b strings.Builder
	line, empty := first, true
	for _, word := range strings.Fields(text) {
		if !empty && len([]rune(line))+1+len([]rune(word)) > helpWidth {
			b.WriteString(line + "\n")
			line, empty = rest, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	return b.String() + line
}
