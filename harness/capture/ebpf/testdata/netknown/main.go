// Command netknown does with TCP sockets what it is told, a command a line, and
// answers each with a line that says what it did, so that a test can compare
// what was recorded with what was done. It uses blocking system calls and not
// package net, so that no call is made that was not asked for.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for in.Scan() {
		words := strings.Fields(in.Text())
		var args []int
		for _, w := range words[1:] {
			n, err := strconv.Atoi(w)
			check(err)
			args = append(args, n)
		}
		fmt.Println(do(words[0], args)...)
	}
}

func do(what string, args []int) []any {
	switch what {
	case "listen": // BACKLOG SECONDS-TO-DEFER -> FD PORT
		return listen(args[0], args[1])
	case "accept": // LISTENER -> FD
		fd, _, err := syscall.Accept4(args[0], 0)
		check(err)
		return []any{fd}
	case "accept-in-vain": // LISTENER TIMES -> TIMES
		return []any{acceptInVain(args[0], args[1])}
	case "accept-nobody": // LISTENER TIMES -> TIMES
		return []any{acceptNobody(args[0], args[1])}
	case "connect": // PORT -> FD, or 0 when refused
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		check(err)
		err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: args[0], Addr: [4]byte{127, 0, 0, 1}})
		if err == syscall.ECONNREFUSED {
			check(syscall.Close(fd))
			return []any{0}
		}
		check(err)
		return []any{fd}
	case "close": // FD
		check(syscall.Close(args[0]))
	case "reset": // FD
		check(syscall.SetsockoptLinger(args[0], syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}))
		check(syscall.Close(args[0]))
	case "fill": // FD -> SENDS BYTES; the next send found no room
		return fill(args[0])
	case "write": // FD BYTES
		n, err := syscall.Write(args[0], make([]byte, args[1]))
		check(err)
		if n != args[1] {
			panic("written in part")
		}
	case "write-fails": // FD -> errno
		_, err := syscall.Write(args[0], []byte("x"))
		return []any{int(err.(syscall.Errno))}
	case "resent": // FD -> segments sent again
		return []any{resent(args[0])}
	default:
		panic(what)
	}
	return []any{0}
}

func listen(backlog, deferSeconds int) []any {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	check(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if deferSeconds > 0 {
		check(syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_DEFER_ACCEPT, deferSeconds))
	}
	check(syscall.Listen(fd, backlog))
	address, err := syscall.Getsockname(fd)
	check(err)
	return []any{fd, address.(*syscall.SockaddrInet4).Port}
}

// acceptInVain lets accept fail for want of a descriptor.
func acceptInVain(listener, times int) (failed int) {
	var was syscall.Rlimit
	check(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was))
	free, err := syscall.Dup(listener)
	check(err)
	check(syscall.Close(free))
	check(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(free), Max: was.Max}))
	for range times {
		if _, _, err := syscall.Accept4(listener, 0); err == syscall.EMFILE {
			failed++
		}
	}
	check(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was))
	return failed
}

func acceptNobody(listener, times int) (failed int) {
	check(syscall.SetNonblock(listener, true))
	for range times {
		if _, _, err := syscall.Accept4(listener, 0); err == syscall.EAGAIN {
			failed++
		}
	}
	check(syscall.SetNonblock(listener, false))
	return failed
}

func fill(fd int) []any {
	check(syscall.SetNonblock(fd, true))
	sends, bytes := 0, 0
	for {
		n, err := syscall.Write(fd, make([]byte, 64<<10))
		if err == syscall.EAGAIN {
			return []any{sends, bytes}
		}
		check(err)
		sends++
		bytes += n
	}
}

func resent(fd int) int {
	const totalRetrans = 100 // offset of tcpi_total_retrans in struct tcp_info
	var info [104]byte
	size := uint32(len(info))
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, uintptr(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		panic(errno)
	}
	return int(*(*uint32)(unsafe.Pointer(&info[totalRetrans])))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
