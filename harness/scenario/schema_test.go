package scenario

import (
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file, or writes it when -update is given.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run this test with -update")
	wantLines, gotLines := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
	for i, line := range gotLines {
		if i >= len(wantLines) || wantLines[i] != line {
			t.Fatalf("%s:%d is out of date, it should be\n%s\nRun this test with -update; descriptions first, for they are built in.", path, i+1, line)
		}
	}
	require.Len(t, wantLines, len(gotLines), "%s is out of date: run this test with -update", path)
}

func TestDescriptions(t *testing.T) {
	comments := map[string]string{}
	text := func(group *ast.CommentGroup) string { return strings.Join(strings.Fields(group.Text()), " ") }
	for _, file := range []string{"scenario.go", "plan.go", "custom.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		require.NoError(t, err)
		for _, d := range f.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.TYPE {
				continue
			}
			spec := decl.Specs[0].(*ast.TypeSpec)
			body, ok := spec.Type.(*ast.StructType)
			if !ok {
				continue
			}
			comments[spec.Name.Name] = text(decl.Doc)
			for _, field := range body.Fields.List {
				if name := field.Names[0]; name.IsExported() {
					require.NotNil(t, field.Doc, "%s.%s needs a doc comment: editors show it", spec.Name, name)
					comments[spec.Name.Name+"."+name.Name] = text(field.Doc)
				}
			}
		}
	}
	data, err := json.MarshalIndent(comments, "", "  ")
	require.NoError(t, err)
	golden(t, "descriptions.json", append(data, '\n'))
}

func TestSchemaGolden(t *testing.T) {
	schema, err := Schema()
	require.NoError(t, err)
	golden(t, filepath.Join("..", "..", "docs", "scenario.schema.json"), schema)
}
