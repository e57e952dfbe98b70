// Package bpf holds the eBPF programs, what is compiled from them, and the Go
// face of each: its maps, variables and the layout of what it keeps. One
// program file is one probe; who loads and reads them is
// chokepoint/harness/capture/ebpf.
//
// Programs that run at every system call and switch are compiled for the third
// version of eBPF's instructions (Linux 5.12), which is shorter.
//
// The compiled objects are committed, so that building needs no clang.
// scripts/generate-check compiles them again and compares.
package bpf

//go:generate go tool bpf2go -target amd64 -type op -type asked -type call_key -type call_value -type call_totals -type op_totals -type error_key -type slow_call -type stack -type counter Syscalls syscalls.bpf.c -- -O2 -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -target amd64 -type state -type holder -type idle -type cpu -type thread -type sched_totals -type thread_sums -type wait_key -type wait_value -type idle_waits -type cut Sched sched.bpf.c -- -O2 -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -target amd64 -type sample_key OnCPU oncpu.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -target amd64 -type tcp_totals -type times -type tally_kind -type tally_key -type socket_owner -type peer Net net.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -target amd64 -type happening -type doing -type goroutine -type reason_totals -type park_key -type park_value -type locking -type lock_key -type lock_value GoRuntime goruntime.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -target amd64 -type custom_flag -type comparison -type custom_totals -type custom_key -type custom_value Custom custom.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
