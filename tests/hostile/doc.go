// Package hostile attacks the daemon: proxies that lie and flood, and local clients that do. Beside them a good proxy
// and a good client go on as if nothing were.
package hostile
