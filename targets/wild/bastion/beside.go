package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"time"
)

// besideVar is set in the environment of the process that stands for the bastion.
const besideVar = "BESIDE"

// beside starts another process of this executable, which stands for the bastion, and
// returns its address. What that process does must not count as this one's.
// It ends with ctx, and with this process.
func beside(ctx context.Context) (addr string, err error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return "", fmt.Errorf("listening for the bastion: %w", err)
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		return "", fmt.Errorf("handing over the listener of the bastion: %w", err)
	}
	defer f.Close()
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding the executable of the bastion: %w", err)
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), besideVar+"=1")
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = time.Second
	if _, err := cmd.StdinPipe(); err != nil {
		return "", fmt.Errorf("starting the bastion: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("starting the bastion: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	return l.Addr().String(), nil
}

// standIn is what that process does; it returns in no case.
func standIn(serve func(net.Listener) error) {
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		// The other process holds the other end, and lets go of it however it ends.
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	log.Fatal(serve(l))
}
