// Package fleet is the proxies that the daemon uses: those of the configuration and those that were found. It runs
// their sessions, hands what they say to the air and to the links, and applies changes of the configuration.
//
// A proxy is told from others by its ID: its MAC, or where it says none, its address. The ID is what tables, links,
// bonds and rules go by. Its name is for people. What a device claims decides neither: two devices that claim one name
// have two IDs; of two ways to one device the newer ends; a device that claims another MAC than the one before it at
// the same place is refused; and a proxy that was found, not configured, never becomes what the configuration means by
// a name or by a MAC.
package fleet
