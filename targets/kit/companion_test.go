package kit

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// greet is a companion that greets each caller.
func greet(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		_, _ = io.WriteString(c, "good day\n") // an error means that the caller has gone
		c.Close()
	}
}

func TestCompanionServesUntilItsTargetStops(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	addr, err := StartCompanion(ctx, "greeter")
	require.NoError(t, err)
	for range 2 {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		text, err := io.ReadAll(c)
		require.NoError(t, err)
		assert.Equal(t, "good day\n", string(text))
		c.Close()
	}
	stop()
	assert.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	}, 10*time.Second, 5*time.Millisecond, "nobody serves any more")
}

func TestUnknownCompanionSaysSo(t *testing.T) {
	assert.ErrorContains(t, companion(nil), "there is no such companion")
}
