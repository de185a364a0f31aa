// Package page looks at the demo's live page with a real browser.
package page
