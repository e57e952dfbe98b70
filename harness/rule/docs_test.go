package rule_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/rule"
	"chokepoint/harness/signal"
)

// The example of the guide is a rule that loads and holds its cases.
func TestExampleInDocs(t *testing.T) {
	guide, err := os.ReadFile("../../docs/rules.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(guide), "```yaml\nrule:")
	require.True(t, found, "the guide has no example")
	example, _, _ := strings.Cut("rule:"+rest, "```")

	r, err := rule.Parse("docs/rules.md", []byte(example), signal.Catalogue())
	require.NoError(t, err)
	for _, c := range r.RunCases() {
		assert.True(t, c.Passed, "%s: %s", c.Case, c.Why)
	}
}
