package ebpf

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const retransmitFormat = `name: tcp_retransmit_skb
ID: 1450
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:const void * skbaddr;	offset:8;	size:8;	signed:0;
	field:__u16 sport;	offset:28;	size:2;	signed:0;
	field:__u8 saddr[4];	offset:34;	size:4;	signed:0;
	field:__data_loc char[] name;	offset:40;	size:4;	signed:0;
	field:struct pair pair;	offset:48;	size:16;	signed:0;

print fmt: "skbaddr=%p sport:%hu"
`

func TestParseFormat(t *testing.T) {
	fields, err := parseFormat(strings.NewReader(retransmitFormat))
	require.NoError(t, err)
	assert.Equal(t, []field{
		{name: "common_type", typ: "unsigned short", offset: 0, size: 2},
		{name: "common_pid", typ: "int", offset: 4, size: 4, signed: true},
		{name: "skbaddr", typ: "const void *", offset: 8, size: 8},
		{name: "sport", typ: "__u16", offset: 28, size: 2},
		{name: "saddr", typ: "__u8", offset: 34, size: 4, refused: "it is a list"},
		{name: "name", typ: "__data_loc char[]", offset: 40, size: 4, refused: "it is a text or a list of its own length"},
		{name: "pair", typ: "struct pair", offset: 48, size: 16, refused: "it has 16 bytes"},
	}, fields)
}

func FuzzParseFormat(f *testing.F) {
	f.Add(retransmitFormat)
	f.Add("\tfield:int a;\toffset:-1;\tsize:4;\tsigned:1;\n\tfield:a;offset:99999999999999999999;")
	f.Fuzz(func(t *testing.T, text string) {
		fields, err := parseFormat(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, field := range fields {
			assert.False(t, field.offset < 0 || field.offset > 1<<15, "%+v", field)
			if field.refused == "" {
				assert.Contains(t, []int{1, 2, 4, 8}, field.size)
			}
		}
	})
}

func TestNearest(t *testing.T) {
	known := []string{"main.(*store).get", "main.serve", "net/http.(*conn).serve", "x/cache.get"}
	for name, want := range map[string]string{
		"main.(*stor).get":  `; did you mean "main.(*store).get"?`,
		"main.store.get":    `; did you mean "main.(*store).get"?`,
		"main.server":       `; did you mean "main.serve"?`,
		"other.serve":       "; called so there are main.serve, net/http.(*conn).serve",
		"entirely.Elsewise": "",
	} {
		assert.Equal(t, want, nearest(name, known), name)
	}
}
