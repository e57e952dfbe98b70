package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
)

// Both variants of both modes give the same service.
func TestEveryModeServes(t *testing.T) {
	for _, mode := range []string{"pool", "gifts", "key", "ample"} {
		for _, variant := range []kit.Variant{kit.Flawed, kit.Fixed} {
			t.Run(mode+"/"+string(variant), func(t *testing.T) {
				server := kittest.Server(t, service(), variant, "mode="+mode, "delay=2ms", "hold=3ms", "keys=3", "conns=2")

				var sent sync.WaitGroup
				for range 20 {
					sent.Go(func() {
						status, body := ask(t, server.URL+"/checkout?cart=1007", "")
						assert.Equal(t, http.StatusOK, status, body)
						// 107 cents a piece, of 1, 2 and 3 pieces, with a fifth of tax on each line, rounded down.
						assert.Equal(t, "customer-47 pays 7.69 for cart 7\n", body)
					})
				}
				sent.Wait()

				status, body := ask(t, server.URL+"/checkout?cart=-1", "")
				assert.Equal(t, http.StatusBadRequest, status)
				assert.Equal(t, "cart: give a whole number, 0 or more\n", body)
				status, body = ask(t, server.URL+"/checkout?cart=1", "Bearer nonsense")
				assert.Equal(t, http.StatusUnauthorized, status)
				assert.Contains(t, body, "the token is refused: ")
			})
		}
	}
}

func ask(t *testing.T, url, authorization string) (status int, body string) {
	return kittest.Get(t, url, http.Header{"Authorization": {authorization}})
}

func TestVerifierRefuses(t *testing.T) {
	sessions, v, err := newTokens(t.Context(), 3)
	require.NoError(t, err)
	require.Len(t, sessions, signedIn)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	signed := func(name, aud string, until time.Time) string {
		token, err := sign(stranger, name, "mallory", aud, until)
		require.NoError(t, err)
		return token
	}
	unsigned, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.RegisteredClaims{Subject: "mallory"}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	require.NoError(t, err)
	soon := time.Now().Add(time.Hour)

	for name, check := range map[string]func(context.Context, string) (string, error){"check": v.check, "verify": v.verify} {
		t.Run(name, func(t *testing.T) {
			customer, err := check(t.Context(), sessions[5])
			require.NoError(t, err)
			assert.Equal(t, "customer-5", customer)

			_, err = check(t.Context(), signed("key-2", audience, soon))
			assert.ErrorIs(t, err, jwt.ErrTokenSignatureInvalid)
			_, err = check(t.Context(), signed("key-9", audience, soon))
			assert.ErrorContains(t, err, `no key is named "key-9"`)
			_, err = check(t.Context(), unsigned)
			assert.ErrorIs(t, err, jwt.ErrTokenSignatureInvalid)

			v.ring["stranger"] = &stranger.PublicKey
			defer delete(v.ring, "stranger")
			if name == "verify" {
				_, err = check(t.Context(), signed("stranger", "elsewhere", soon))
				assert.ErrorIs(t, err, jwt.ErrTokenInvalidAudience)
				_, err = check(t.Context(), signed("stranger", audience, time.Now().Add(-time.Hour)))
				assert.ErrorIs(t, err, jwt.ErrTokenExpired)
			}
		})
	}
	require.NoError(t, os.Remove(v.path))
	_, err = v.check(t.Context(), sessions[0])
	assert.ErrorIs(t, err, os.ErrNotExist, "the flawed check reads the file each time")
	_, err = v.verify(t.Context(), sessions[0])
	assert.NoError(t, err)
}

// A gift costs the flawed store its one connection, for good.
func TestStoreLosesTheConnectionOrNot(t *testing.T) {
	for name, tt := range map[string]struct {
		payable func(*cartStore, int) ([]cartLine, error)
		inUse   int
	}{"payable": {(*cartStore).payable, 1}, "payableLines": {(*cartStore).payableLines, 0}} {
		t.Run(name, func(t *testing.T) {
			carts, err := openCarts(t.Context(), 1, true)
			require.NoError(t, err)
			lines, err := tt.payable(carts, 7)
			require.NoError(t, err)
			assert.Len(t, lines, linesPerCart)
			assert.Zero(t, carts.db.Stats().InUse)

			lines, err = tt.payable(carts, 2*oneGiftIn)
			require.NoError(t, err)
			assert.Empty(t, lines)
			assert.Equal(t, tt.inUse, carts.db.Stats().InUse)
		})
	}
}

// While the tax is asked for, for an hour, the flawed store keeps its one
// connection and nobody else reads a cart.
func TestStoreKeepsTheConnectionOrNot(t *testing.T) {
	carts, err := openCarts(t.Context(), 1, false)
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		price func(context.Context, int, *kit.Dependency) (int64, error)
		keeps bool
	}{"price": {carts.price, true}, "quote": {carts.quote, false}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := tt.price(ctx, 1, kit.NewDependency(t.Context(), time.Hour))
				done <- err
			}()
			patience := 30 * time.Second
			if tt.keeps {
				require.Eventually(t, func() bool { return carts.db.Stats().InUse == 1 }, patience, time.Millisecond)
				patience = 50 * time.Millisecond
			}
			other, stop := context.WithTimeout(t.Context(), patience)
			defer stop()
			_, err := carts.lines(other, 2)
			if tt.keeps {
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			} else {
				assert.NoError(t, err)
			}
			cancel()
			assert.ErrorIs(t, <-done, context.Canceled)
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	sessions, v, err := newTokens(b.Context(), 400)
	require.NoError(b, err)
	for name, check := range map[string]func(context.Context, string) (string, error){"check": v.check, "verify": v.verify} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := check(b.Context(), sessions[0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkQuote(b *testing.B) {
	carts, err := openCarts(b.Context(), 6, false)
	require.NoError(b, err)
	for b.Loop() {
		if _, err := carts.lines(b.Context(), 7); err != nil {
			b.Fatal(err)
		}
	}
}
