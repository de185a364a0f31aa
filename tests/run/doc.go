// Command run is make test: it runs go test on every package and the parts that are no Go tests, all of them even if
// one fails, prints one line for each, and ends with one summary: what passed, what failed and the command that runs it
// alone, what was skipped and for want of what, and how long it took. The complete output of each package is in a file
// below the folder that -logs names.
//
// Tests that drive the real program mostly wait, so that more packages run at a time than there are cores. The program
// is built once for all of them.
package main
