#include "textflag.h"

// func trap()
//
// Begins with the instruction that uprobes on Go functions are put at, which the
// kernel emulates. It uses no stack that it does not give back, so that the Go
// stack need not grow, which a uprobe here would count twice.
TEXT ·trap(SB), NOSPLIT|NOFRAME, $0-0
	PUSHQ BP
	POPQ BP
	RET

// func trapPC() uintptr
TEXT ·trapPC(SB), NOSPLIT, $0-8
	LEAQ ·trap(SB), AX
	MOVQ AX, ret+0(FP)
	RET
