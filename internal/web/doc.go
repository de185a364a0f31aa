// Package web is the read-only HTTP listener: metrics for Prometheus, health, and the live page that shows which proxy
// hears what. It takes everything from a [Source] and knows nothing of the rest of the program. It reads the metrics
// when Prometheus scrapes them, and makes the page's snapshots once a second, for all viewers together and only while
// there are viewers. Without viewers it reads the counters and the signals every ten seconds, so that the first viewer
// sees rates and the past hour.
package web
