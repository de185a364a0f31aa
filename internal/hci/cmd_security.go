package hci

import (
	"crypto/aes"
	"crypto/rand"
	"slices"
)

// securityCommands are encryption and what hosts use of the controller's cryptography.
var securityCommands = map[uint16]command{
	0x2017: {"LE Encrypt", 27, 6, 32, func(c *Controller, op uint16, p []byte) {
		key, text := slices.Clone(p[:16]), slices.Clone(p[16:32])
		slices.Reverse(key)
		slices.Reverse(text)
		block, err := aes.NewCipher(key)
		if err != nil { // of a key of 16 bytes: never
			c.commandStatus(op, invalidParameters)
			return
		}
		block.Encrypt(text, text)
		slices.Reverse(text)
		c.commandComplete(op, success, text...)
	}},
	0x2018: {"LE Rand", 27, 7, 0, answers(func(*Controller) []byte {
		b := make([]byte, 8)
		_, _ = rand.Read(b) // never fails
		return b
	})},
	0x2019: {"LE Enable Encryption", 28, 0, 28, func(c *Controller, op uint16, p []byte) {
		l := c.link(op, p)
		if l == nil {
			return
		}
		c.commandStatus(op, success)
		l.smp.Encrypt([8]byte(p[2:10]), u16(p[10:]), [16]byte(p[12:28]), func(status byte) {
			enabled := byte(0)
			if status == 0 {
				enabled = 1
			}
			c.event(eventEncryption, status, byte(l.handle), byte(l.handle>>8), enabled)
		})
	}},
}
