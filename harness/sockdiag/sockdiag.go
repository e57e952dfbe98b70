// Package sockdiag asks the kernel for the TCP sockets of a network namespace,
// by its sock_diag netlink protocol (sock_diag(7)). It tells what /proc/net/tcp
// does not: a listening socket's limit and drops, and every socket's cookie. It
// takes no capability, but for the namespace of another container.
package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A State is a set of TCP states, one bit for each number of
// include/net/tcp_states.h.
type State uint32

// Listening are listening sockets, Others those in any other state but TIME_WAIT
// and NEW_SYN_RECV, which belong to no process.
const (
	Listening State = 1 << 10
	Others    State = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<11
)

// Socket is one TCP socket.
type Socket struct {
	Local, Remote netip.AddrPort
	State         uint8 // as numbered in include/net/tcp_states.h
	// RecvQ and SendQ are bytes not yet read, and not yet acknowledged. Of a
	// listening socket they are connections that wait for accept, and their limit.
	RecvQ, SendQ uint32
	Inode        uint64
	Cookie       uint64 // unique until the machine restarts
	// Drops counts segments that the socket dropped since it was made. Of a
	// listening socket these are SYNs and final ACKs, mostly for want of room in
	// the accept queue. -1: the kernel did not say.
	Drops int64
}

// Constants of linux/sock_diag.h and linux/inet_diag.h.
const (
	sockDiagByFamily = 20
	skMemInfo        = 7 // INET_DIAG_SKMEMINFO
	skMemInfoDrops   = 8 // index, in words
	requestSize      = 56
	messageSize      = 72
)

// patience is how long the kernel may take to answer.
const patience = 5 * time.Second

// Conn is a connection to one network namespace. It stays good when the process
// that the namespace was found by has ended.
type Conn struct{ fd int }

// Open connects to the network namespace of process pid.
func Open(pid int) (*Conn, error) {
	fd, err := onThread(func() (int, error) { return socketOf(fmt.Sprintf("/proc/%d/ns/net", pid)) })
	if err != nil {
		return nil, fmt.Errorf("open sock_diag in the network namespace of process %d: %w", pid, err)
	}
	return &Conn{fd}, nil
}

// onThread calls f on a thread that ends with the call, so that what f does to
// it is done to nothing else. The process's first thread is not taken: it cannot
// end, and the process counts as being where that one is.
func onThread(f func() (int, error)) (n int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			defer runtime.UnlockOSThread() // this goroutine keeps it from the next one meanwhile
			n, err = onThread(f)
			return
		}
		n, err = f()
	}()
	<-done
	return n, err
}

// socketOf makes a netlink socket in a namespace, which the thread enters.
func socketOf(namespace string) (int, error) {
	var want, own unix.Stat_t
	if err := unix.Stat(namespace, &want); err != nil {
		return -1, &os.PathError{Op: "stat", Path: namespace, Err: err}
	}
	if err := unix.Stat("/proc/thread-self/ns/net", &own); err != nil {
		return -1, &os.PathError{Op: "stat", Path: "/proc/thread-self/ns/net", Err: err}
	}
	if want.Dev == own.Dev && want.Ino == own.Ino {
		return socket()
	}
	ns, err := unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: namespace, Err: err}
	}
	defer unix.Close(ns)
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return -1, fmt.Errorf("enter it, which takes CAP_SYS_ADMIN: %w", err)
	}
	return socket()
}

func socket() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return -1, fmt.Errorf("netlink socket: %w", err)
	}
	timeout := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return -1, errors.Join(fmt.Errorf("netlink socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// TCP is the sockets in one of states, over IPv4 and IPv6.
func (c *Conn) TCP(states State) ([]Socket, error) {
	var all []Socket
	for n, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := c.dump(family, states, uint32(n+1))
		// A kernel without IPv6 has nobody to ask for it.
		if family == unix.AF_INET6 && errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ask sock_diag for TCP sockets: %w", err)
		}
		all = append(all, sockets...)
	}
	return all, nil
}

func request(family uint8, states State, sequence uint32) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+requestSize)
	binary.NativeEndian.PutUint32(b[0:], uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(b[8:], sequence)
	body := b[unix.SizeofNlMsghdr:]
	body[0], body[1], body[2] = family, unix.IPPROTO_TCP, 1<<(skMemInfo-1)
	binary.NativeEndian.PutUint32(body[4:], uint32(states))
	return b
}

func (c *Conn) dump(family uint8, states State, sequence uint32) ([]Socket, error) {
	if err := unix.Sendto(c.fd, request(family, states, sequence), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	var all []Socket
	buf := make([]byte, 64<<10) // the kernel's messages have 32 KiB at most
	for {
		n, _, err := unix.Recvfrom(c.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("receive: %w", err)
		}
		sockets, done, err := parse(buf[:n], sequence)
		if err != nil {
			return nil, err
		}
		if all = append(all, sockets...); done {
			return all, nil
		}
	}
}

// parse reads the netlink messages of one answer; done after the last one.
// Messages that answer another request are passed over.
func parse(b []byte, sequence uint32) (sockets []Socket, done bool, err error) {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return nil, false, fmt.Errorf("a message says it has %d bytes where %d are left", size, len(b))
		}
		kind := binary.NativeEndian.Uint16(b[4:])
		mine := binary.NativeEndian.Uint32(b[8:]) == sequence
		body := b[unix.SizeofNlMsghdr:size]
		b = b[min(align(size), len(b)):]
		if !mine {
			continue
		}
		switch kind {
		case unix.NLMSG_DONE:
			return sockets, true, nil
		case unix.NLMSG_ERROR:
			if len(body) < 4 {
				return nil, false, errors.New("an error message has no error in it")
			}
			return nil, false, unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
		case sockDiagByFamily:
			s, err := parseSocket(body)
			if err != nil {
				return nil, false, err
			}
			sockets = append(sockets, s)
		}
	}
	return sockets, false, nil
}

// align rounds up to the 4 bytes that netlink aligns to.
func align(n int) int { return (n + 3) &^ 3 }

func parseSocket(b []byte) (Socket, error) {
	if len(b) < messageSize {
		return Socket{}, fmt.Errorf("a socket has %d bytes, want at least %d", len(b), messageSize)
	}
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	address := func(port, at int) netip.AddrPort {
		var a netip.Addr
		if b[0] == unix.AF_INET {
			a = netip.AddrFrom4([4]byte(b[at : at+4]))
		} else {
			a = netip.AddrFrom16([16]byte(b[at : at+16]))
		}
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[port:]))
	}
	s := Socket{
		State: b[1],
		Local: address(4, 8), Remote: address(6, 24),
		Cookie: uint64(word(44)) | uint64(word(48))<<32,
		RecvQ:  word(56), SendQ: word(60),
		Inode: uint64(word(68)),
		Drops: -1,
	}
	for attrs := b[messageSize:]; len(attrs) >= 4; {
		size := int(binary.NativeEndian.Uint16(attrs))
		if size < 4 || size > len(attrs) {
			return Socket{}, fmt.Errorf("an attribute says it has %d bytes where %d are left", size, len(attrs))
		}
		value := attrs[4:size]
		if binary.NativeEndian.Uint16(attrs[2:]) == skMemInfo && len(value) >= 4*(skMemInfoDrops+1) {
			s.Drops = int64(binary.NativeEndian.Uint32(value[4*skMemInfoDrops:]))
		}
		attrs = attrs[min(align(size), len(attrs)):]
	}
	return s, nil
}
