package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	audience  = "checkout"
	keyHeader = "kid" // names the key of the ring that a token is signed with
	signedIn  = 64    // customers with a session
)

// keyRing holds the public keys of all who may sign tokens, by name.
type keyRing map[string]*ecdsa.PublicKey

// loadRing reads a ring from a file of PEM blocks.
func loadRing(path string) (keyRing, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load keys: %w", err)
	}
	ring := keyRing{}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return ring, nil
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("load keys: %s: %w", path, err)
		}
		public, ok := key.(*ecdsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("load keys: %s: key %s is a %T; want an ECDSA key", path, block.Headers[keyHeader], key)
		}
		ring[block.Headers[keyHeader]] = public
	}
}

func (r keyRing) find(token *jwt.Token) (any, error) {
	name, _ := token.Header[keyHeader].(string)
	key, ok := r[name]
	if !ok {
		return nil, fmt.Errorf("no key is named %q", name)
	}
	return key, nil
}

// tokenVerifier checks whether tokens are properly signed, for this service and
// still good.
type tokenVerifier struct {
	path   string
	ring   keyRing
	parser *jwt.Parser
}

// check loads the keys anew, so that one which was withdrawn is not used again.
func (v *tokenVerifier) check(_ context.Context, token string) (customer string, err error) {
	return v.parse(token, func(t *jwt.Token) (any, error) {
		ring, err := loadRing(v.path) // chokepoint:flaw cpu-hot-path
		if err != nil {
			return nil, err
		}
		return ring.find(t)
	})
}

// verify is check with the keys that were loaded at the start.
func (v *tokenVerifier) verify(_ context.Context, token string) (customer string, err error) {
	return v.parse(token, v.ring.find)
}

func (v *tokenVerifier) parse(token string, key jwt.Keyfunc) (customer string, err error) {
	var claims jwt.RegisteredClaims
	if _, err := v.parser.ParseWithClaims(token, &claims, key); err != nil {
		return "", fmt.Errorf("the token is refused: %w", err)
	}
	return claims.Subject, nil
}

// newTokens makes a ring of keys in a temporary file, which goes when ctx ends,
// and signs the sessions' tokens with the last of them.
func newTokens(ctx context.Context, keys int) (sessions []string, v *tokenVerifier, err error) {
	if keys < 1 {
		return nil, nil, errors.New("a ring has 1 key or more")
	}
	dir, err := os.MkdirTemp("", "checkout-keys-")
	if err != nil {
		return nil, nil, err
	}
	context.AfterFunc(ctx, func() { os.RemoveAll(dir) })
	var text []byte
	var signer *ecdsa.PrivateKey
	var name string
	for n := range keys {
		if signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, nil, err
		}
		der, err := x509.MarshalPKIXPublicKey(&signer.PublicKey)
		if err != nil {
			return nil, nil, err
		}
		name = fmt.Sprintf("key-%d", n)
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Headers: map[string]string{keyHeader: name}, Bytes: der})...)
	}
	v = &tokenVerifier{
		path:   filepath.Join(dir, "ring.pem"),
		parser: jwt.NewParser(jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience(audience), jwt.WithExpirationRequired()),
	}
	if err := os.WriteFile(v.path, text, 0o600); err != nil {
		return nil, nil, err
	}
	if v.ring, err = loadRing(v.path); err != nil {
		return nil, nil, err
	}
	for n := range signedIn {
		token, err := sign(signer, name, fmt.Sprintf("customer-%d", n), audience, time.Now().Add(24*time.Hour))
		if err != nil {
			return nil, nil, err
		}
		sessions = append(sessions, token)
	}
	return sessions, v, nil
}

func sign(key *ecdsa.PrivateKey, name, customer, aud string, until time.Time) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.RegisteredClaims{
		Subject: customer, Audience: jwt.ClaimStrings{aud}, ExpiresAt: jwt.NewNumericDate(until),
	})
	token.Header[keyHeader] = name
	return token.SignedString(key)
}
