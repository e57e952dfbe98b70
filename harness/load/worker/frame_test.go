package worker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFramesComeAsTheyWent(t *testing.T) {
	var stream bytes.Buffer
	f := newFrames(&stream)
	require.NoError(t, f.send(kindHello, hello{Protocol: protocol, Version: Version, PID: 7}))
	require.NoError(t, f.raw(kindResults, nil))
	require.NoError(t, f.raw(kindResults, []byte("abc")))
	in := bufio.NewReader(&stream)
	require.NoError(t, readHello(in))
	for _, want := range []string{"", "abc"} {
		k, body, err := readFrame(in)
		require.NoError(t, err)
		assert.Equal(t, kindResults, k)
		assert.Equal(t, want, string(body))
	}
	_, _, err := readFrame(in)
	assert.Equal(t, io.EOF, err)
}

func frame(k byte, size uint32, body string) string {
	head := make([]byte, 5)
	head[0] = k
	binary.BigEndian.PutUint32(head[1:], size)
	return string(head) + body
}

func TestStreamsThatAreNone(t *testing.T) {
	tests := map[string]struct{ stream, want string }{
		"another program": {"usage: chokepoint [command]\n", "not that of a load worker"},
		"nothing":         {"", "EOF"},
		"half a head":     {"\x01\x00", "unexpected EOF"},
		"cut":             {frame(1, 10, "{}"), "unexpected EOF"},
		"too long":        {frame(1, maxFrame+1, ""), "at most"},
		"not JSON":        {frame(1, 2, "{]"), "Hello"},
		"another first":   {frame(byte(kindLive), 2, "{}"), "no load worker"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			err := readHello(bufio.NewReader(strings.NewReader(tc.stream)))
			require.Error(t, err)
			assert.Contains(t, err.Error(), tc.want)
		})
	}
	newer := fmt.Sprintf(`{"protocol":"chokepoint-load","version":%d,"pid":1}`, Version+1)
	err := readHello(bufio.NewReader(strings.NewReader(frame(1, uint32(len(newer)), newer))))
	require.ErrorContains(t, err, fmt.Sprintf("version %d", Version+1))
	require.ErrorContains(t, err, fmt.Sprintf("this program version %d", Version))
}

func TestFrameThatIsTooLongIsNotSent(t *testing.T) {
	var stream bytes.Buffer
	require.Error(t, newFrames(&stream).raw(kindResults, make([]byte, maxFrame+1)))
	assert.Zero(t, stream.Len())
}

// FuzzReadFrame: whatever comes, reading ends, believes no length that is not
// there, and what was read can be written again.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte(frame(1, 2, "{}")))
	f.Add([]byte(frame(6, 3, "abc") + frame(9, 2, "{}")))
	f.Add([]byte(frame(11, 1<<31, "")))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bufio.NewReader(bytes.NewReader(data))
		var again bytes.Buffer
		out := newFrames(&again)
		for {
			k, body, err := readFrame(in)
			if err != nil {
				break
			}
			require.NotEmpty(t, k.String())
			require.NoError(t, out.raw(k, body))
		}
		require.True(t, bytes.HasPrefix(data, again.Bytes()))
	})
}
