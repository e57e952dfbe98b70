package http1

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
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

// stampArrivals has the kernel tell when what is received came in. It begins some
// milliseconds after the first socket of the machine has asked; until then all comes
// just now.
func stampArrivals(fd uintptr) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
}

// stamp is the control message that holds the time of arrival.
type stamp struct {
	head unix.Cmsghdr
	at   unix.Timespec // wall clock
}

// recvStamped is recv that also tells how long ago the last of what it returns had
// come; 0 when the kernel does not say.
func recvStamped(fd uintptr, p []byte) (n int, ago time.Duration, errno syscall.Errno) {
	var control stamp
	part := unix.Iovec{Base: unsafe.SliceData(p), Len: uint64(len(p))}
	for {
		message := unix.Msghdr{Iov: &part, Iovlen: 1, Control: (*byte)(unsafe.Pointer(&control))}
		message.SetControllen(int(unsafe.Sizeof(control)))
		r, _, errno := syscall.RawSyscall(syscall.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&message)), syscall.MSG_DONTWAIT)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			return 0, 0, errno
		}
		if message.Controllen > 0 && control.head.Level == unix.SOL_SOCKET && control.head.Type == unix.SCM_TIMESTAMPNS {
			ago = time.Duration(time.Now().UnixNano() - control.at.Nano())
		}
		return int(r), ago, 0
	}
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
