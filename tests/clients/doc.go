// Package clients runs the client matrix: programs and libraries that were written for BlueZ, unmodified, each through
// the same steps against the demo's devices. The table that it prints is kept in docs/evidence/clients.md; -write
// writes it anew.
package clients
