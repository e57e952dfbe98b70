package http1

import (
	"syscall"
	"unsafe"
)

// The system calls of the hot path. The sockets do not block, so the calls are
// made without telling Go's scheduler, which would prepare for a long stay in
// the kernel each time.

// send writes what fits into the socket's buffer. MSG_NOSIGNAL spares a SIGPIPE
// when the peer is gone.
func send(fd uintptr, p []byte) (int, syscall.Errno) {
	const flags = syscall.MSG_DONTWAIT | syscall.MSG_NOSIGNAL
	return call(syscall.SYS_SENDTO, fd, p, flags)
}

// recv reads what has come; 0 without an error is the end.
func recv(fd uintptr, p []byte) (int, syscall.Errno) {
	return call(syscall.SYS_RECVFROM, fd, p, syscall.MSG_DONTWAIT)
}

// peek is recv that leaves the bytes where they are.
func peek(fd uintptr, p []byte) (int, syscall.Errno) {
	return call(syscall.SYS_RECVFROM, fd, p, syscall.MSG_DONTWAIT|syscall.MSG_PEEK)
}

func call(trap, fd uintptr, p []byte, flags uintptr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}
