// Package hostile attacks the daemon, with proxies and with local clients that lie and flood. A good proxy and a good
// client run beside them, and must not notice anything.
package hostile
