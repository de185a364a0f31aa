// Package web is the read-only HTTP listener: metrics for Prometheus, health, and the live page that shows which
// proxy hears what. It consumes a [Source] and knows nothing of the rest of the program. Nothing is computed while
// nobody asks: counters are read when they are scraped, and the page's snapshots are made, once a second for all
// viewers together, only while there are viewers.
package web
