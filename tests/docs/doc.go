// Package docs tests what the documents tell people to type, and what they show: every command is run as it stands, or
// known to be run by another test, and output that is quoted is the program's.
package docs
