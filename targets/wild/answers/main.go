// Answers is a help desk where a language model answers. A request that the model
// refused is tried again, and up to version 2.1.1 of the model's client the refusal's
// body is never closed (its issue 495): its connection and the goroutines of it stay.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/openai/openai-go/v2"
	"github.com/openai/openai-go/v2/option"
)

func main() {
	if os.Getenv(besideVar) != "" {
		standIn(serveModel)
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
	m := dial("http://" + addr + "/v1")
	http.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/ask", m.answer)
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// model answers questions.
type model struct{ client openai.Client }

func dial(url string) *model {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 200
	return &model{client: openai.NewClient(
		option.WithBaseURL(url), option.WithAPIKey("none"), option.WithMaxRetries(5),
		option.WithHTTPClient(&http.Client{Transport: transport}),
	)}
}

// ask finishes what it began, also when the one who asked has gone: an answer is
// paid for, and kept for the next who asks.
func (m *model) ask(ctx context.Context, question string) (string, error) {
	done, err := m.client.Chat.Completions.New(context.WithoutCancel(ctx), openai.ChatCompletionNewParams{
		Model: "small",
		Messages: []openai.ChatCompletionMessageParamUnion{
			openai.SystemMessage("You help the customers of a shop for lamps."),
			openai.UserMessage(question),
		},
	})
	if err != nil {
		return "", fmt.Errorf("asking the model: %w", err)
	}
	if len(done.Choices) == 0 {
		return "", errors.New("asking the model: no answer")
	}
	return done.Choices[0].Message.Content, nil
}

func (m *model) answer(w http.ResponseWriter, r *http.Request) {
	text, err := m.ask(r.Context(), r.FormValue("q"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	_, _ = io.WriteString(w, text)
}
