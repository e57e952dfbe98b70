package cause

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTaxonomy(t *testing.T) {
	id := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen := map[string]bool{}
	for _, c := range All() {
		assert.Regexp(t, id, c.ID)
		assert.False(t, seen[c.ID], "%s stands there twice", c.ID)
		assert.NotEmpty(t, c.What)
		assert.True(t, Known(c.ID))
		seen[c.ID] = true
	}
	assert.Len(t, IDs(), 20)
	assert.False(t, Known("lock"))
	assert.False(t, Known(""))
}
