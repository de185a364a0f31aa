// Package page tests the live page in a real browser: the page of the demo, and, driven by playwright-core, the pages
// of simulated houses with 7 and with 300 devices.
package page
