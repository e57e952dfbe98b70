/* What the fuzzer starts from. tiny.elf and packed.elf are made of it, the second with -gz=zlib in place of -gz=none:
   gcc -g -O2 -gz=none -ffile-prefix-map=$PWD=. -static -nostdlib -fcf-protection=none -fno-asynchronous-unwind-tables -o tiny.elf tiny.c */
volatile int sink;

__attribute__((noinline)) void leaf(int n) { sink += n; }

static inline __attribute__((always_inline)) void inner(int n) {
	leaf(n + 1);
	sink++;
}

static inline __attribute__((always_inline)) void middle(int n) {
	inner(n);
	sink--;
}

void _start(void) {
	middle(sink);
	for (;;)
		sink++;
}
