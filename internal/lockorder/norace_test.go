//go:build !race

package lockorder

const checks = false
