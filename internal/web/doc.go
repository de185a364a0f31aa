// Package web is the read-only HTTP listener: metrics for Prometheus, health, and the live page that shows which proxy
// hears what. It takes everything from a [Source] and knows nothing of the rest of the program. It computes nothing
// while nobody asks: counters are read when they are scraped, and snapshots for the page are made once a second for all
// viewers together, and only while there are viewers.
package web
