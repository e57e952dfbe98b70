// Visits is a shop that writes each visit of a page to ClickHouse. Its client
// forgets a place in the pool each time that a context has ended before a connection
// is there, in version 2.43.0 (ClickHouse/clickhouse-go#1759).
package main

import (
	"context"
	"encoding/binary"
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

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
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
	visits, err := clickhouse.Open(&clickhouse.Options{
		Addr:         []string{addr},
		DialTimeout:  2 * time.Second,
		MaxOpenConns: 20,
		MaxIdleConns: 20,
	})
	if err != nil {
		log.Fatal(err)
	}
	s := &shop{visits: visits}
	http.HandleFunc("/page", s.page)
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// shop serves pages, whether or not their visits can be written.
type shop struct {
	visits driver.Conn
	lost   atomic.Int64
}

func (s *shop) page(w http.ResponseWriter, r *http.Request) {
	time.Sleep(30 * time.Millisecond) // others put the page together
	if err := s.record(r.Context(), r.URL.Query().Get("id")); err != nil {
		s.lost.Add(1)
	}
	fmt.Fprintf(w, "a page, %d visits lost\n", s.lost.Load())
}

func (s *shop) record(ctx context.Context, page string) error {
	return s.visits.Exec(ctx, "INSERT INTO visits (page, at) VALUES (?, ?)", page, time.Now().Unix())
}

// serve is what stands for ClickHouse: it greets a client, and says of each query
// that it is done. A client sends a query in one piece, and waits for the answer.
func serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 64<<10)
			for answer := greeting(); ; answer = []byte{5} { // the end of a stream
				if _, err := conn.Read(buf); err != nil {
					return
				}
				if _, err := conn.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}

// greeting is the hello of a server of version 23.8.1.
func greeting() []byte {
	b := text([]byte{0}, "ClickHouse")
	b = binary.AppendUvarint(b, 23)
	b = binary.AppendUvarint(b, 8)
	b = binary.AppendUvarint(b, 54451) // the protocol's revision
	b = text(b, "UTC")
	b = text(b, "beside")
	return binary.AppendUvarint(b, 1)
}

func text(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
