//go:build race

#include "textflag.h"

// func fieldOfG(offset uintptr) uint64
TEXT ·fieldOfG(SB), NOSPLIT, $0-16
	MOVQ (TLS), AX
	ADDQ offset+0(FP), AX
	MOVQ (AX), AX
	MOVQ AX, ret+8(FP)
	RET
