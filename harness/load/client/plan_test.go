package client

import (
	"encoding/json"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPlanErrors(t *testing.T) {
	polite := func() Plan { return Plan{BaseURL: "http://127.0.0.1:8080", MaxInFlight: 10} }
	tests := []struct {
		name   string
		change func(*Plan)
		want   string
	}{
		{"no base", func(p *Plan) { p.BaseURL = "" }, "want http://host:port"},
		{"other scheme", func(p *Plan) { p.BaseURL = "ftp://x" }, "want http://host:port"},
		{"unknown engine", func(p *Plan) { p.Engine = "fast" }, `engine "fast" is not known; want "lean", "net/http"`},
		{"lean and HTTP/2", func(p *Plan) { p.Engine, p.HTTP2 = "lean", true }, `engine "lean": HTTP/2 is asked for`},
		{"lean and TLS", func(p *Plan) { p.Engine, p.BaseURL = "lean", "https://x" }, `engine "lean": the target speaks TLS`},
		{"tls over http", func(p *Plan) { p.TLS = &TLS{} }, "want https://"},
		{"no certificate", func(p *Plan) { p.BaseURL, p.TLS = "https://x", &TLS{CA: []byte("x")} }, "tls: ca holds no certificate; want PEM"},
		{"nothing in flight", func(p *Plan) { p.MaxInFlight = 0 }, "max in flight is 0; want 1 to"},
		{"connections", func(p *Plan) { p.Connections = -1 }, "connections is -1; want 0"},
		{"timeout", func(p *Plan) { p.Timeout = -1 }, "timeout is -1ns"},
		{"from nowhere", func(p *Plan) { p.From = []netip.Addr{netip.IPv4Unspecified()} }, "from: address 1 (0.0.0.0)"},
		{"from other family", func(p *Plan) { p.From = []netip.Addr{netip.IPv6Loopback()} }, "from: ::1 cannot reach 127.0.0.1"},
		{"behaviour", func(p *Plan) { p.Behaviours = []Behaviour{{Share: 1}} }, "behaviour 1: want one of reads_per_second"},
		{"shares", func(p *Plan) {
			p.Behaviours = []Behaviour{{Share: 0.6, ReadsPerSecond: 1}, {Share: 0.6, ReadsPerSecond: 2}}
		}, "their shares sum up to 1.2"},
		{"two mistakes", func(p *Plan) { p.MaxInFlight, p.Engine = 0, "x" }, "max in flight"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			p := polite()
			require.NoError(t, p.Validate())
			tc.change(&p)
			_, err := New(p, nil)
			require.ErrorContains(t, err, "client: ")
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestBehaviours(t *testing.T) {
	for want, b := range map[string]Behaviour{
		"reads 1KiB/s":              {Share: 0.5, ReadsPerSecond: 1024},
		"reads 1000B/s":             {Share: 1, ReadsPerSecond: 1000},
		"stops reading after 16MiB": {Share: 1, StopsReadingAfter: 16 << 20},
		"sends 4GiB/s":              {Share: 1, SendsPerSecond: 4 << 30},
		"hangs up after 50ms":       {Share: 1, HangsUpAfter: 50 * time.Millisecond},
	} {
		require.NoError(t, b.Validate(), want)
		assert.Equal(t, want, b.String())
	}
	for want, b := range map[string]Behaviour{
		"share is 0; want more than 0":   {ReadsPerSecond: 1},
		"share is NaN":                   {Share: math.NaN(), ReadsPerSecond: 1},
		"share is 1.5":                   {Share: 1.5, ReadsPerSecond: 1},
		"reads_per_second is -1 B/s":     {Share: 1, ReadsPerSecond: -1},
		"hangs_up_after is -1 ns":        {Share: 1, HangsUpAfter: -1},
		"want one of reads_per_second":   {Share: 1},
		"reads_per_second and sends_per": {Share: 1, ReadsPerSecond: 1, SendsPerSecond: 1},
	} {
		require.ErrorContains(t, b.Validate(), want)
	}
}

func TestPlanTravels(t *testing.T) {
	p := Plan{
		BaseURL: "https://127.0.0.1:1", HTTP2: true, TLS: &TLS{CA: []byte("pem"), ServerName: "x"}, MaxInFlight: 7,
		From: []netip.Addr{netip.MustParseAddr("127.0.0.9")}, Timeout: time.Second,
		Behaviours: []Behaviour{{Share: 0.5, HangsUpAfter: time.Millisecond}},
	}
	text, err := json.Marshal(p)
	require.NoError(t, err)
	var back Plan
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, p, back)
	assert.Equal(t, []string{"hangs up after 1ms"}, back.BehaviourNames())
}

func TestPartsOfAPlanAddUp(t *testing.T) {
	whole := Plan{BaseURL: "http://127.0.0.1:1", Connections: 10}
	sum := 0
	for worker := range 3 {
		part := whole.For(4, worker, 3)
		assert.Equal(t, 4, part.MaxInFlight)
		assert.Equal(t, 12, part.allInFlight)
		sum += part.Connections
	}
	assert.Equal(t, whole.Connections, sum)
}

func TestPickHoldsTheShares(t *testing.T) {
	c, err := New(Plan{BaseURL: "http://127.0.0.1:1", MaxInFlight: 1, Behaviours: []Behaviour{
		{Share: 0.1, ReadsPerSecond: 1}, {Share: 0.02, StopsReadingAfter: 1},
	}}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	const n = 100_000
	// Over all requests, and over each fourth, as one of four templates has them.
	for _, step := range []uint64{1, 4} {
		counts := map[int]int{}
		for i := range uint64(n) {
			counts[c.Pick(i*step)]++
		}
		// Five standard deviations of a binomial distribution: sqrt(n p (1-p)).
		for behaviour, share := range map[int]float64{0: 0.1, 1: 0.02, -1: 0.88} {
			assert.InDelta(t, share*n, counts[behaviour], 5*math.Sqrt(n*share*(1-share)), "behaviour %d", behaviour)
		}
	}
	all, err := New(Plan{BaseURL: "http://127.0.0.1:1", MaxInFlight: 1, Behaviours: []Behaviour{{Share: 1, ReadsPerSecond: 1}}}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = all.Close() })
	for seq := range uint64(n) {
		if all.Pick(seq) != 0 {
			t.Fatalf("request %d is polite", seq)
		}
	}
}

func TestSources(t *testing.T) {
	v4, v6, far := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback(), netip.MustParseAddr("192.0.2.1")
	tests := []struct {
		name        string
		to          netip.Addr
		connections int
		want        []string
		err         string
	}{
		{"few", v4, 800, nil, ""},
		{"more than one address is planned with", v4, 801, []string{"127.0.0.1", "127.0.0.2"}, ""},
		{"many", v4, 2401, []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"}, ""},
		{"IPv6 has one address only", v6, 1001, nil, "name 2 addresses in from"},
		{"IPv6, just", v6, 1000, nil, ""},
		{"elsewhere", far, 2001, nil, "2001 connections to one target need as many local ports, and 1 source address(es) have 1000 each (net.ipv4.ip_local_port_range); name 3 addresses"},
		{"a name", netip.Addr{}, 900, nil, ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := sources(tc.to, tc.connections, 1000)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			var texts []string
			for _, ip := range got {
				texts = append(texts, ip.String())
			}
			assert.Equal(t, tc.want, texts)
		})
	}
	spread := netip.MustParseAddr("127.0.1.0")
	got, err := sources(v4, 800*256, 1000)
	require.NoError(t, err)
	assert.Equal(t, spread, got[255], "the next network follows")

	// Two workers need together what neither needs alone.
	ports, err := localPorts()
	require.NoError(t, err)
	part := Plan{BaseURL: "http://127.0.0.1:1"}.For(ports*3/4, 0, 2)
	to, err := part.peer()
	require.NoError(t, err)
	both, err := part.sources(to)
	require.NoError(t, err)
	assert.Len(t, both, 2)
	alone, err := SourceAddrs("127.0.0.1", ports*3/4)
	require.NoError(t, err)
	assert.Empty(t, alone)
	_, err = Plan{From: []netip.Addr{v4}, MaxInFlight: ports + 1}.sources(to)
	require.ErrorContains(t, err, "ip_local_port_range")
	none, err := Plan{HTTP2: true, MaxInFlight: ports + 1}.sources(to)
	require.NoError(t, err)
	assert.Empty(t, none, "streams take no ports")
	bad, err := Plan{HTTP2: true, MaxInFlight: ports, Behaviours: one(Behaviour{ReadsPerSecond: 1})}.sources(to)
	require.NoError(t, err)
	assert.Len(t, bad, 2, "badly behaved clients have a connection for each request")
}
