// Command run is make test: it runs go test on every package, and the parts that are no Go tests. It runs all of them
// even if one fails, and prints a line for each. It ends with a summary: what passed, what failed and the command that
// runs it alone, what was skipped and what was missing, and how long it took. It writes the complete output of each
// package to a file in the folder that -logs names.
//
// Tests that drive the real program mostly wait. Therefore more of their packages run at a time than there are cores.
// The program is built once for all of them.
package main
