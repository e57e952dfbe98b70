package procfs

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNetCounters(t *testing.T) {
	got, err := Of(os.Getpid()).NetCounters()
	require.NoError(t, err)
	for _, name := range []string{"TcpExt.ListenDrops", "TcpExt.ListenOverflows", "Tcp.RetransSegs", "Tcp.OutRsts"} {
		assert.Contains(t, got, name)
	}
}

func TestParseNetCounters(t *testing.T) {
	got := map[string]int64{}
	require.NoError(t, parseNetCounters("TcpExt: A B\nTcpExt: 1 -2\nIpExt: A\nIpExt: 3\n", got))
	assert.Equal(t, map[string]int64{"TcpExt.A": 1, "TcpExt.B": -2, "IpExt.A": 3}, got)
	for _, test := range []struct{ in, err string }{
		{"", "want pairs"},
		{"TcpExt: A B\nTcpExt: 1\n", "lines 1 and 2 are not names"},
		{"TcpExt: A\nIpExt: 1\n", "lines 1 and 2 are not names"},
		{"TcpExt: A\nTcpExt: x\n", "line 2: TcpExt.A"},
		{"TcpExt: A\nTcpExt: 1\nIpExt: B\n", "3 lines, want pairs"},
	} {
		assert.ErrorContains(t, parseNetCounters(test.in, map[string]int64{}), test.err, "%q", test.in)
	}
}

func FuzzParseNetCounters(f *testing.F) {
	f.Add("TcpExt: A B\nTcpExt: 1 2\n")
	f.Fuzz(func(t *testing.T, in string) {
		_ = parseNetCounters(in, map[string]int64{})
	})
}
