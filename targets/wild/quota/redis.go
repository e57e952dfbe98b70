package main

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// serveRedis is as much of Redis as counts, 10 ms away.
func serveRedis(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			_ = count(c)
		}()
	}
}

// count answers each command of a connection with how many there were.
func count(c net.Conn) error {
	r := bufio.NewReader(c)
	length := func() (int, error) { // of an array or a string: *3, $11
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	for n := 1; ; n++ {
		words, err := length()
		if err != nil {
			return err
		}
		for range words {
			size, err := length()
			if err != nil {
				return err
			}
			if _, err := r.Discard(size + len("\r\n")); err != nil {
				return err
			}
		}
		time.Sleep(10 * time.Millisecond)
		if _, err := fmt.Fprintf(c, ":%d\r\n", n); err != nil {
			return err
		}
	}
}
