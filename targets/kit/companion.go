package kit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"
)

// companionVar names, in the environment of a process, the companion that it is.
const companionVar = "KIT_COMPANION"

// Companions makes this process the companion that its environment names, and
// ends it; in all others it does nothing. A target with companions calls it
// first of all, and so does TestMain in its tests.
func Companions(serve map[string]func(net.Listener) error) {
	name := os.Getenv(companionVar)
	if name == "" {
		return
	}
	if err := companion(serve[name]); err != nil {
		fmt.Fprintf(os.Stderr, "companion %s: %v\n", name, err)
		os.Exit(exitError)
	}
	os.Exit(exitOK)
}

func companion(serve func(net.Listener) error) error {
	if serve == nil {
		return errors.New("there is no such companion")
	}
	f := os.NewFile(3, "listener")
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("taking over the listener: %w", err)
	}
	f.Close()
	go func() {
		// The target holds the other end, and lets go of it however it ends.
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(exitOK)
	}()
	return serve(l)
}

// StartCompanion starts another process of this executable, which serves a
// loopback TCP port as the companion of that name, and returns the address. It is
// for dependencies with so many connections that the descriptors of their ends
// must not count as the target's. It ends with ctx, and with the target.
func StartCompanion(ctx context.Context, name string) (addr string, err error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("starting the companion %s: %w", name, err)
	}
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return fail(err)
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	exe, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), companionVar+"="+name)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = time.Second
	if _, err := cmd.StdinPipe(); err != nil {
		return fail(err)
	}
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	go func() { _ = cmd.Wait() }() // it ends when it is told to, which is an error to Wait
	return l.Addr().String(), nil
}
