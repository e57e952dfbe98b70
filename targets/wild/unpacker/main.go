// Unpacker takes the packed logs of devices and keeps the errors in them. A log says
// how much of it must be in memory to unpack the rest. Version 0.5.12 of the library
// that unpacks takes that much before it reads on, and 8 MB where less is asked for
// (CVE-2025-58058).
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	_ "net/http/pprof"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/ulikunitz/xz/lzma"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	in := &intake{index{15 * time.Millisecond}}
	http.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/logs", in.take)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// index is the search engine for errors, on another machine.
type index struct{ takes time.Duration }

func (i index) add(_ string, _ []string) { time.Sleep(i.takes) }

type intake struct{ index index }

// batch is how many errors the index takes at once.
const batch = 20

// keepErrors puts the errors of a packed log into the index, and says how many.
func (in *intake) keepErrors(device string, packed []byte) (int, error) {
	lines, err := lzma.NewReader(bytes.NewReader(packed))
	if err != nil {
		return 0, fmt.Errorf("unpacking the log of %s: %w", device, err)
	}
	var found []string
	kept := 0
	keep := func() {
		in.index.add(device, found)
		kept, found = kept+len(found), found[:0]
	}
	sc := bufio.NewScanner(lines)
	for sc.Scan() {
		if line := sc.Text(); strings.Contains(line, " ERROR ") {
			found = append(found, line)
		}
		if len(found) == batch {
			keep()
		}
	}
	if len(found) > 0 {
		keep()
	}
	if err := sc.Err(); err != nil {
		return kept, fmt.Errorf("unpacking the log of %s: %w", device, err)
	}
	return kept, nil
}

// upload is what a device sends: a log of the format .lzma.
type upload struct {
	Device string `json:"device"`
	Log    []byte `json:"log"`
}

func (in *intake) take(w http.ResponseWriter, r *http.Request) {
	var sent upload
	if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	kept, err := in.keepErrors(sent.Device, sent.Log)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	_, _ = fmt.Fprintf(w, "%d errors\n", kept)
}
