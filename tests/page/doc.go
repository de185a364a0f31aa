// Package page looks at the live page with a real browser: that of the demo, and, driven by playwright-core, that of a
// simulated house with 7 and with 300 devices.
package page
