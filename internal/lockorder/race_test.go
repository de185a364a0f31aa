//go:build race

package lockorder

const checks = true
