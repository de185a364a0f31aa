// Package apipb holds the generated messages of api.proto. It has no logic;
// package apiwire gives the messages their numbers and encodings.
package apipb
