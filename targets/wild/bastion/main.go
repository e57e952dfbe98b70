// Bastion keeps an SSH connection to a bastion host alive, and tells how it is.
// On a connection that has ended a keepalive spins for ever in version 0.52.0 of
// golang.org/x/crypto (mended in 0.53.0 by commit 4c4d20b7).
package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

func main() {
	if os.Getenv(besideVar) != "" {
		standIn(serve)
	}
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	addr, err := beside(ctx)
	if err != nil {
		log.Fatal(err)
	}
	l := &link{addr: addr, config: &ssh.ClientConfig{
		User:            "relay",
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // it is on this machine
		Timeout:         2 * time.Second,
	}}
	go l.run(ctx)
	http.HandleFunc("/link", l.status)
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// link is a connection to the bastion, which is made anew when it ends.
type link struct {
	addr   string
	config *ssh.ClientConfig
	made   atomic.Int64
	heard  atomic.Int64 // when the bastion last answered, in milliseconds
}

func (l *link) run(ctx context.Context) {
	for ctx.Err() == nil {
		client, err := ssh.Dial("tcp", l.addr, l.config)
		if err != nil {
			log.Print("connecting to the bastion: ", err)
			time.Sleep(time.Second)
			continue
		}
		l.made.Add(1)
		l.keepalive(client)
		_ = client.Close()
	}
}

// keepalive returns when the connection has ended.
func (l *link) keepalive(client *ssh.Client) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, _, err := client.SendRequest("keepalive@openssh.com", true, nil); err != nil {
			return
		}
		l.heard.Store(time.Now().UnixMilli())
	}
}

func (l *link) status(w http.ResponseWriter, _ *http.Request) {
	silent := time.Since(time.UnixMilli(l.heard.Load()))
	fmt.Fprintf(w, "connected %d times, silent for %v\n", l.made.Load(), silent.Round(time.Millisecond))
}

// serve is what stands for the bastion: it lets everyone in, and ends each connection
// after a while, as those do that are behind a balancer.
func serve(l net.Listener) error {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return err
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)
	for {
		raw, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			conn, channels, requests, err := ssh.NewServerConn(raw, config)
			if err != nil {
				return
			}
			time.AfterFunc(1250*time.Millisecond, func() { _ = conn.Close() })
			go ssh.DiscardRequests(requests)
			for c := range channels {
				_ = c.Reject(ssh.Prohibited, "keepalives alone")
			}
		}()
	}
}
