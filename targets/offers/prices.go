package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"chokepoint/targets/kit"
)

// priceConn carries one question at a time.
type priceConn struct {
	net.Conn
	in *bufio.Reader
}

// priceBook asks the price book, over as many connections as there are questions.
type priceBook struct {
	addr     string
	wait     time.Duration // what the book takes
	dead     int
	patience time.Duration // 0: without end

	mu   sync.Mutex
	idle []*priceConn
}

// price asks for the price of a product. A connection whose answer did not come is
// not used again: the answer may come yet.
func (b *priceBook) price(ctx context.Context, product int) (string, error) {
	c, err := b.take(ctx)
	if err != nil {
		return "", err
	}
	if b.patience > 0 {
		if err := c.SetDeadline(time.Now().Add(b.patience)); err != nil {
			return "", errors.Join(err, c.Close())
		}
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	wait := b.wait.String()
	if silent(product, b.dead) {
		wait = "never"
	}
	if _, err := fmt.Fprintf(c, "%d %s\n", product, wait); err != nil {
		return "", errors.Join(fmt.Errorf("asking the price book: %w", err), c.Close())
	}
	line, err := c.in.ReadString('\n') // chokepoint:flaw missing-timeout
	if err != nil {
		return "", errors.Join(fmt.Errorf("waiting for the price book: %w", err), c.Close())
	}
	b.put(c)
	return line[:len(line)-1], nil
}

func (b *priceBook) take(ctx context.Context) (*priceConn, error) {
	b.mu.Lock()
	if n := len(b.idle); n > 0 {
		c := b.idle[n-1]
		b.idle = b.idle[:n-1]
		b.mu.Unlock()
		return c, nil
	}
	b.mu.Unlock()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", b.addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to the price book: %w", err)
	}
	return &priceConn{Conn: conn, in: bufio.NewReader(conn)}, nil
}

func (b *priceBook) put(c *priceConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.idle = append(b.idle, c)
}

// priceAPI answers GET /price?product=N.
type priceAPI struct {
	book *priceBook
	shop *kit.Dependency
}

func newPriceAPI(ctx context.Context, o kit.Options) (http.Handler, error) {
	addr, err := kit.StartCompanion(ctx, "price book")
	if err != nil {
		return nil, err
	}
	b := &priceBook{addr: addr, wait: o.Duration("answer"), dead: o.Int("silent")}
	if !o.Flawed() {
		b.patience = o.Duration("patience")
	}
	api := &priceAPI{book: b, shop: kit.NewDependency(ctx, o.Duration("delay"))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /price", api.servePrice)
	return mux, nil
}

func (a *priceAPI) servePrice(w http.ResponseWriter, r *http.Request) {
	product, ok := number(w, r, "product")
	if !ok {
		return
	}
	if err := a.shop.Call(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	price, err := a.book.price(r.Context(), product)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		price, err = "unknown", nil
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintf(w, "product %d: price %s\n", product, price)
}

// servePrices is the price book's side.
func servePrices(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			lines := bufio.NewScanner(c)
			for lines.Scan() {
				var product int
				var word string
				if _, err := fmt.Sscan(lines.Text(), &product, &word); err != nil {
					return
				}
				wait, err := time.ParseDuration(word)
				if err != nil {
					continue // what it was asked goes under
				}
				time.Sleep(wait)
				if _, err := fmt.Fprintf(c, "%d\n", 100+product%900); err != nil {
					return
				}
			}
		}()
	}
}
