// Links hands out files to those who hold a sealed link. A link is encrypted under a
// passphrase and says itself how many rounds its key takes; up to version 3.0.0 the
// library goes as many as it says (GHSA-2c7c-3mj9-8fqh).
package main

import (
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
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v3"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	file := flag.String("seal", "", "print a link to this file, and stop")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	s := &sealer{passphrase: []byte("correct horse battery staple")}
	if *file != "" {
		link, err := s.seal(grant{*file, time.Now().AddDate(10, 0, 0)})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(link)
		return
	}
	http.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/files/{link}", s.file)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// grant is what a link allows.
type grant struct {
	File    string    `json:"file"`
	Expires time.Time `json:"exp"`
}

var errExpired = errors.New("the link has expired")

// sealer turns grants into links and back.
type sealer struct{ passphrase []byte }

func (s *sealer) seal(g grant) (string, error) {
	enc, err := jose.NewEncrypter(jose.A128GCM, jose.Recipient{
		Algorithm:  jose.PBES2_HS256_A128KW,
		Key:        s.passphrase,
		PBES2Count: 1000,
	}, nil)
	if err != nil {
		return "", fmt.Errorf("sealing a link to %s: %w", g.File, err)
	}
	text, err := json.Marshal(g)
	if err != nil {
		return "", fmt.Errorf("sealing a link to %s: %w", g.File, err)
	}
	sealed, err := enc.Encrypt(text)
	if err != nil {
		return "", fmt.Errorf("sealing a link to %s: %w", g.File, err)
	}
	return sealed.CompactSerialize()
}

func (s *sealer) open(link string) (g grant, err error) {
	sealed, err := jose.ParseEncrypted(link)
	if err != nil {
		return g, err
	}
	text, err := sealed.Decrypt(s.passphrase)
	if err != nil {
		return g, err
	}
	if err := json.Unmarshal(text, &g); err != nil {
		return g, err
	}
	if time.Now().After(g.Expires) {
		return g, errExpired
	}
	return g, nil
}

func (s *sealer) file(w http.ResponseWriter, r *http.Request) {
	g, err := s.open(r.PathValue("link"))
	if err != nil {
		http.Error(w, "not a valid link", http.StatusForbidden)
		return
	}
	fmt.Fprintf(w, "what is in %s\n", g.File)
}
